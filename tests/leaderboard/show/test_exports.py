"""The board in every format: the same numbers, everything escaped, nothing that does not parse."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from markdown_it import MarkdownIt
from small_results import map_choice

from leaderboard.board import build
from leaderboard.json_file import ResultError
from leaderboard.record import METRICS
from leaderboard.results.collect import Collection
from leaderboard.results.published import read_reported
from leaderboard.show.exports import board_json, board_markdown
from leaderboard.show.figures.curves import beta_figure, looks_of, time_figure
from leaderboard.show.figures.write import STYLE, figures, write_figures
from leaderboard.show.latex import LINES, latex, tex
from leaderboard.show.sheets.views import VIEWS, sheets
from leaderboard.show.texts import csv_text, escape, plain
from leaderboard.statistics.samples import Statistic

pytestmark = pytest.mark.slow

ODD = "a|b_<c>&%$#\\{~^}*`"


@pytest.fixture(scope="module")
def board(make_sweep):
    """Six datasets, three predictors with known levels, everything that a view shows; one name to escape."""
    levels = {"rec_l1": 0.6, "grad_kl": 0.5, ODD: 0.8}
    fields = {
        "groups": {"sex": {"f": {"ap": {"value": 0.5, "low": 0.5, "high": 0.5}}}},
        "lesions": [{"smallest": 1, "largest": 9, "lesions": 4, "detected": 3}],
        "map": map_choice(1.0, sign="negative", sign_by="dataset"),
    }
    runs = make_sweep(levels, ["open_ms", "d1", "d2", "d3", "d4", "d5"], **fields)
    return build(
        Collection(runs, damaged=["x/result.json: damaged | JSON"], failed={"y": "why | not"}), read_reported()
    )


def test_json_is_strict_and_full(board):
    document = json.loads(board_json(board), parse_constant=pytest.fail)
    assert document["version"] == 2
    row = next(one for one in document["rows"] if one["dataset"] == "d1" and one["predictor"] == ODD)
    source = next(one for one in board.rows if one.dataset == "d1" and one.predictor == ODD)
    assert row["test"]["auroc"] == dict(source.test["auroc"]._asdict())
    assert row["versus"]["auroc"]["verdict"] == "best"
    assert document["chosen"][0]["row"]["beta"] in (1.0, 4.0)
    assert document["runs"][0]["run_id"] == board.runs[0].run_id
    assert document["reported"][0]["metrics"]["dice_oracle"] == 0.271
    assert {one["name"] for one in document["findings"]} >= {"beta", "ensemble"}
    assert all(one["sentence"] for one in document["findings"])
    assert set(document["findings"][3]["parts"]) == set(board.datasets)
    assert "samples" not in row


def test_every_view_has_a_sheet_of_even_rows_and_is_in_the_markdown(board):
    text = board_markdown(board)
    for view in VIEWS:
        found = sheets(board, [view])
        assert found, view
        assert all(len(row) == len(sheet.header) for sheet in found for row in sheet.rows)
        assert text.count("### ") >= len(found)
    for line in text.splitlines():
        if line.startswith("| "):
            table = re.sub(r"\\.", "", line)
            assert table.count("|") == next(iter({table.count("|")}))
            assert "<c>" not in table
    assert text.startswith("### AP of predictors over datasets")
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert len(titles) == len(set(titles))
    assert "reported by Meissen, Kaissis, Rueckert 2021" in text
    assert "| thresholded FLAIR | 0.991 | 0.271 | – | 0.374 | – | – |" in text
    assert "left out: x/result.json: damaged" in text


@pytest.mark.parametrize(
    "text", [ODD, "_a_ __b__ ~~c~~", "[x](javascript:alert(1)) ![i](http://x/y.png)", "&lt;b&gt; &amp;", "<b>", "a_b_c"]
)
def test_markdown_shows_a_text_literally(text):
    """With another program's reading of Markdown."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    cells = ElementTree.fromstring(reader.render(f"| {escape(text)} | b |\n|---|---|\n")).iter("th")
    assert [(cell.text, len(cell)) for cell in cells] == [(text, 0), ("b", 0)]


def test_what_steers_a_terminal_is_shown_and_not_obeyed():
    assert plain("a\x1b[31m\u202eb\x00\n\ud800") == "a\ufffd[31m\ufffdb\ufffd \ufffd"


def test_ranks_and_domains_say_how_many_datasets(board):
    ranks = next(sheet for sheet in sheets(board, ["ranks"]) if "(all)" in sheet.title and "AUROC" in sheet.title)
    assert ranks.rows[0] == (ODD, "1.00")
    assert "Friedman p" in ranks.caption
    assert "critical difference 1.35" in ranks.caption  # 2.343 · sqrt(3 · 4 / (6 · 6)), Demšar 2006, table 5
    domains = sheets(board, ["domains"])[0]
    assert domains.header == ("predictor", "medical", "natural")
    assert domains.rows[0][1].endswith("(3/3)")


def test_predictors_over_datasets_are_those_that_validation_chooses_and_the_oracle_is_said(board):
    found = [sheet for sheet in sheets(board, ["predictors"]) if sheet.title.startswith("AP ")]
    chosen, oracle = found
    assert oracle.title.endswith("(oracle)")
    assert "upper bound" in oracle.caption
    assert chosen.header == ("predictor", *board.datasets, "mean")
    for line in chosen.rows:
        for dataset, text in zip(board.datasets, line[1:-1], strict=True):
            (one,) = [x for x in board.chosen if (x.dataset, x.predictor, x.metric) == (dataset, line[0], "ap")]
            assert text.startswith(f"{one.row.test['ap'].mean:.3f}")
    means = [float(line[-1]) for line in chosen.rows]
    assert means == sorted(means, reverse=True)
    assert len(board.datasets) > 1


def test_latex_escapes_and_balances(board):
    text = latex(board)
    assert text.startswith("% Needs in the preamble:")
    assert text.index(r"\caption{AP of predictors over datasets") == text.index(r"\caption")
    assert tex(ODD) in text
    assert ODD not in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}}") == text.count(r"\toprule")
    assert r"\textbf{0.8" in text
    bare = re.sub(r"\\.", "", text)
    assert bare.count("{") == bare.count("}")
    for columns, block in re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end", text, re.S):
        rows = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert len(rows) <= 1 + LINES
        size = len(re.sub(r">\{.*?\}p\{48mm\}", "p", columns))
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {size}


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("a_b & 50 %", r"a\_b \& 50 \%"),
        ("\\{", r"\textbackslash{}\{"),
        ("[x]*", "{[}x]{*}"),  # which \\\\ of the line before would take for its own
        ("a--b", r"a-\allowbreak{}-b"),
        ("\x1b[31m\u202e\x00", "{?}{[}31m{?}{?}"),
        ("Größe σ 語", r"Größe $\sigma$ \otherscript{語}"),
        ("x" * 30, "x" * 12 + r"\allowbreak{}" + "x" * 18),
    ],
)
def test_latex_sets_a_text_literally(text, literal):
    assert tex(text) == literal


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="NOT COMPILED: there is no pdflatex")
def test_latex_compiles(board, tmp_path):
    """With the preamble that the file asks for; names of other scripts, and of what would be a command, included."""
    hostile = replace(board.rows[0], label="Größe 語 \u202e\x1b[0m --", predictor="*" + "x" * 300)
    board = replace(board, rows=[hostile, *board.rows], curves=board.curves[:12], chosen=[], subjects=[], rankings=[])
    (tmp_path / "board.tex").write_text(latex(board), encoding="utf-8")
    preamble = "\n".join(line[2:] for line in latex(board).splitlines() if line.startswith(r"% \usepackage"))
    (tmp_path / "doc.tex").write_text(
        f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n\\input{{board.tex}}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "doc.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    assert b"Overfull" not in done.stdout
    assert b"Float too large" not in done.stdout


def test_figures_are_written_whole_named_safely_and_the_same_twice(board, tmp_path):
    names = {name for name, _ in figures(board)}
    assert {"beta_auroc_open_ms_vae", "time_ap_d1", "critical_difference_dice_medical", "ranks_auroc"} <= names
    assert any(name.startswith("claim_") for name in names)
    ranked = replace(board, curves=[], chosen=[], findings=[], rankings=board.rankings[:1])
    paths, again = (write_figures(ranked, tmp_path / folder, ["svg"]) for folder in ("one", "two"))
    assert [path.name for path in paths] == ["critical_difference_auroc.svg"]
    assert paths[0].read_bytes() == again[0].read_bytes()
    texts = {
        "".join(one.itertext()).strip() for one in ElementTree.parse(paths[0]).iter("{http://www.w3.org/2000/svg}text")
    }
    assert {f"{ODD}  1.00", "critical difference 1.35", "rec_l1  2.00"} <= texts


def test_long_and_equal_names_of_figures_do_not_collide(board, tmp_path):
    names = ["x" * 300, "x" * 300 + "?", "a b", "A/b"]
    curves = [replace(board.curves[0], dataset=name, label="") for name in names]
    paths = write_figures(replace(board, curves=curves, chosen=[], findings=[], rankings=[]), tmp_path, ["svg"])
    assert len({path.name.lower() for path in paths}) == len(paths) == len(names)
    assert all(len(path.name.encode()) < 255 and path.exists() for path in paths)


def test_axes_show_the_means_and_plain_numbers_and_legends_every_name(board):
    wide = next(one for one in board.chosen if one.predictor == ODD and one.metric == "auroc")
    row = replace(wide.row, seconds=Statistic(0.0023, None, None, None, 3), test={"auroc": Statistic(0.8, 1, -3, 4, 3)})
    slow = replace(row, seconds=Statistic(0.075, None, None, None, 3))
    choices = [replace(wide, row=row), replace(wide, row=slow, predictor="_hidden")]
    looks = {name: {"color": "black", "marker": "o"} for name in (ODD, "_hidden")}
    with mpl.rc_context(STYLE):
        figure = time_figure(choices, looks)
        figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_ylim() == pytest.approx((0.75, 0.85))
    ticks = [one.get_text() for one in axes.get_xticklabels(which="both")]
    assert {"5", "10", "20", "50"} <= set(ticks)
    assert all(re.fullmatch(r"[\d.]*", one) for one in ticks)
    assert {one.get_text().strip("\u200b") for one in figure.legends[0].get_texts()} == {"front", ODD, "_hidden"}


def test_predictors_stand_beside_each_other_over_beta_and_inside_the_figure(board):
    members = [curve for curve in board.curves if (curve.dataset, curve.metric) == ("d1", "auroc")]
    figure = beta_figure(members, looks_of(board))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    frame = axes.get_window_extent()
    lines = [
        line for line in axes.get_lines() if line.get_label().strip("\u200b") in {one.predictor for one in members}
    ]
    assert len(lines) == len(members) > 1
    places = [[line.get_transform().transform(point)[0] for point in line.get_xydata()] for line in lines]
    assert len({round(of[0], 3) for of in places}) == len(members), "no two at one place"
    assert all(frame.x0 < place < frame.x1 for of in places for place in of)


def test_every_format_of_a_figure_opens(board, tmp_path):
    paths = write_figures(replace(board, chosen=[], findings=[], rankings=[], curves=board.curves[:18:6]), tmp_path)
    assert {path.stem for path in paths} == {"beta_auroc_d1_vae"}
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert {path.suffix for path in paths} == set(starts)
    assert all(path.read_bytes().startswith(starts[path.suffix]) for path in paths)


def test_reported_figures_are_read_and_wrong_files_refused(tmp_path):
    assert all(0 < value < 1 and metric in METRICS for one in read_reported() for metric, value in one.metrics.items())
    path = tmp_path / "own.yaml"
    path.write_text("- {dataset: d, source: s, url: u, protocol: p, methods: {m: {auroc: 0.5}}}\n")
    assert read_reported(path)[0].method == "m"
    path.write_text("- {dataset: d, source: s, url: u, protocol: p, methods: {m: {auc: 0.5}}}\n")
    with pytest.raises(ResultError, match=r"own\.yaml: unknown metrics \['auc'\]"):
        read_reported(path)
    path.write_text("- {dataset: d, methods: {}}\n")
    with pytest.raises(ResultError, match=r"own\.yaml: not a file of reported figures .*published\.yaml shows"):
        read_reported(path)


def test_nothing_in_a_csv_steers_a_terminal():
    assert csv_text(["a\x1b[31m"], [["b\x9b2J"], [0.25], [None]]) == 'a\ufffd[31m\nb\ufffd2J\n0.25\n""\n'
