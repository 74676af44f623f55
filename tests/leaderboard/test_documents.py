"""The board in every format: the same numbers, everything escaped, nothing that does not parse."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from leaderboard.board import build
from leaderboard.collect import Collection
from leaderboard.documents import board_json, board_markdown, latex, tex
from leaderboard.figures import figures, write_figures
from leaderboard.published import read_reported
from leaderboard.record import METRICS, ResultError
from leaderboard.sheets import VIEWS, sheets

ODD = "a|b_<c>&%$#\\{~^}*`"


@pytest.fixture(scope="module")
def board(make_run):
    """Six datasets of two domains, two betas, three seeds, three predictors with known levels; one name to escape."""
    runs = []
    for at in range(6):
        for beta in (1.0, 4.0):
            for seed in range(3):
                random = np.random.default_rng([at, int(beta), seed])
                predictors = {}
                for name, level in (("rec_l1", 0.6), ("grad_kl", 0.5), (ODD, 0.8)):
                    values = (level + at / 100 - beta / 100 + 0.005 * random.normal(size=9)).tolist()
                    predictors[name] = {
                        "value": values[0], "validation": values[1], "subjects": values[2:],
                        "groups": {"sex": {"f": {"ap": {"value": 0.5, "low": 0.5, "high": 0.5}}}},
                        "lesions": [{"smallest": 1, "largest": 9, "lesions": 4, "detected": 3}],
                        "seconds_per_image": level / 100,
                    }  # fmt: skip
                domain = ("medical", "natural")[at % 2]
                config = {"seed": seed, "dataset": {"domain": domain}, "model": {"beta": beta}}
                names = {
                    "dataset": "open_ms" if at == 0 else f"d{at}",
                    "family": f"d{at}",
                    "setting_id": f"d{at}-{beta}",
                }
                runs.append(make_run(seed, predictors, beta=beta, config=config, **names))
    return build(Collection(runs, damaged=["x/result.json: damaged | JSON"]), read_reported())


def test_json_is_strict_and_full(board):
    document = json.loads(board_json(board), parse_constant=pytest.fail)
    assert document["version"] == 1
    row = next(one for one in document["rows"] if one["dataset"] == "d1" and one["predictor"] == ODD)
    source = next(one for one in board.rows if one.dataset == "d1" and one.predictor == ODD)
    assert row["test"]["auroc"] == dict(source.test["auroc"]._asdict())
    assert row["versus"]["auroc"]["verdict"] == "best"
    assert document["chosen"][0]["row"]["beta"] in (1.0, 4.0)
    assert document["runs"][0]["run_id"] == board.runs[0].run_id
    assert document["reported"][0]["metrics"]["dice_oracle"] == 0.271
    assert {one["name"] for one in document["findings"]} >= {"beta", "ensemble"}
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
    assert "reported by Meissen, Kaissis, Rueckert 2021" in text
    assert "| thresholded FLAIR | 0.991 | 0.271 | – | 0.374 | – | – |" in text
    assert "left out: x/result.json: damaged" in text


def test_ranks_and_domains_say_how_many_datasets(board):
    ranks = next(sheet for sheet in sheets(board, ["ranks"]) if "(all)" in sheet.title and "AUROC" in sheet.title)
    assert ranks.rows[0] == (ODD, "1.00")
    assert "Friedman p" in ranks.caption
    assert "critical difference 1.35" in ranks.caption  # 2.343 · sqrt(3 · 4 / (6 · 6)), Demšar 2006, table 5
    domains = sheets(board, ["domains"])[0]
    assert domains.header == ("predictor", "medical", "natural")
    assert domains.rows[0][1].endswith("(3/3)")


def test_latex_escapes_and_balances(board):
    text = latex(board)
    assert tex(ODD) in text
    assert ODD not in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}}") == text.count(r"\toprule")
    assert r"\textbf{0.8" in text
    bare = re.sub(r"\\.", "", text)
    assert bare.count("{") == bare.count("}")
    for block in re.findall(r"\\begin\{tabular\}\{(l+)\}\n(.*?)\\end", text, re.S):
        rows = [line for line in block[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(block[0])}
    assert tex("a_b & 50 %") == r"a\_b \& 50 \%"
    assert tex("\\{") == r"\textbackslash{}\{"


def test_figures_are_written_whole_named_safely_and_the_same_twice(board, tmp_path):
    names = {name for name, _ in figures(board)}
    assert {"beta_auroc_open_ms_vae", "time_ap_d1", "critical_difference_dice_medical", "ranks_auroc"} <= names
    ranked = replace(board, curves=[], chosen=[], rankings=board.rankings[:1])
    paths, again = (write_figures(ranked, tmp_path / folder, ["svg"]) for folder in ("one", "two"))
    assert [path.name for path in paths] == ["critical_difference_auroc.svg"]
    assert paths[0].read_bytes() == again[0].read_bytes()
    texts = {
        "".join(one.itertext()).strip() for one in ElementTree.parse(paths[0]).iter("{http://www.w3.org/2000/svg}text")
    }
    assert {f"{ODD}  1.00", "critical difference 1.35", "rec_l1  2.00"} <= texts


def test_every_format_of_a_figure_opens(board, tmp_path):
    paths = write_figures(replace(board, chosen=[], rankings=[], curves=board.curves[:18:6]), tmp_path)
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
