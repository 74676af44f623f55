"""What the tables say, at every width, to the letter where it matters."""

import csv as csv_module
import io
import json
import re

import pytest
from rich.console import Console
from small_results import map_choice

from leaderboard.board import build
from leaderboard.results.collect import Collection, PlannedRun
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.row import Row
from leaderboard.show.exports import board_json, board_markdown, csv, markdown
from leaderboard.show.sheets.over_datasets import leading_sheets
from leaderboard.show.sheets.sheet import Sheet
from leaderboard.show.sheets.views import sheets
from leaderboard.show.tables import LEGEND, print_tables
from leaderboard.show.terminal import print_sheet, print_sheets

PREDICTORS = ("reconstruction_l1", "grad_kl", "ensemble_probit")


@pytest.fixture
def rows(make_run) -> list[Row]:
    values = [{"reconstruction_l1": 0.61 + seed / 100, "grad_kl": 0.902 + seed / 50} for seed in range(3)]
    runs = [make_run(seed, values[seed], model="beta_vae", setting_id="b") for seed in range(3)]
    runs += [make_run(0, {"grad|kl*": 0.5, "none": None}, model="vae", beta=4.0, setting_id="v")]
    plan = PlannedRun(run_id="x", setting_id="v", dataset="tiny", model="vae", beta=4.0, seed=1, folder="x")
    return aggregate(Collection(runs, planned=[plan]))


def printed(rows, width, **options) -> str:
    stream = io.StringIO()
    print_tables(rows, Console(file=stream, width=width, **options))
    return stream.getvalue()


def words(text) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_markdown_to_the_letter(rows):
    best, low, one = "**0.922 ± 0.020**", "0.620 ± 0.010", "0.500"
    expected = [
        "### tiny",
        "",
        "| model | beta | predictor | pixel AUROC | AP | dice | dice_oracle | AUPRO | image AUROC | n/N |",
        "|---|---|---|---|---|---|---|---|---|---|",
        f"| beta_vae | 1 | grad_kl | {' | '.join([best] * 6)} | 3/3 |",
        f"| beta_vae | 1 | reconstruction_l1 | {' | '.join([low] * 6)} | 3/3 |",
        rf"| vae | 4 | grad\|kl\* | {' | '.join([one] * 6)} | 1/2\* |",
        rf"| vae | 4 | none | {' | '.join(['–'] * 6)} | 1/2\* |",
        "",
    ]
    text = markdown(rows)
    assert text.splitlines()[: len(expected)] == expected
    assert "foreground pixels only" in text
    assert "dice_oracle: at the best threshold for the test labels" in text
    assert "no ± for a single seed" in text


def test_equal_looking_means_are_all_bold_and_partly_undefined_cells_are_marked(make_run):
    runs = [make_run(0, {"a": 0.7001, "b": 0.7004, "c": None}), make_run(1, {"a": 0.7001, "b": 0.7004, "c": 0.2})]
    lines = markdown(aggregate(Collection(runs))).splitlines()
    assert "**0.700 ± 0.000**" in lines[4]
    assert "**0.700 ± 0.000**" in lines[5]
    assert r"| c | 0.200\* |" in lines[6]


def test_notes_on_settings_are_printed_once(make_run):
    runs = [make_run(0, config={"k": 1}), make_run(0, config={"k": 2}, setting_id="bbbb")]
    rows = aggregate(Collection(runs))
    for text in (markdown(rows), printed(rows, 120)):
        assert text.count("settings #aaaa, #bbbb differ in k; never averaged.") == 1


def test_at_120_columns_everything_is_shown(rows):
    text = printed(rows, 120)
    assert max(map(len, text.splitlines())) <= 120
    header = "model beta predictor pixel AUROC AP dice dice_oracle AUPRO image AUROC n/N"
    assert header.split() in words(text)
    assert ["beta_vae", "1", "grad_kl", *["0.922", "±", "0.020"] * 6, "3/3"] in words(text)
    assert ["beta_vae", "1", "reconstruction_l1", *["0.620", "±", "0.010"] * 6, "3/3"] in words(text)
    assert ["vae", "4", "grad|kl*", *["0.500"] * 6, "1/2*"] in words(text)
    assert ["vae", "4", "none", *["–"] * 6, "1/2*"] in words(text)
    assert " ".join(text.split()).endswith(" ".join(LEGEND))


@pytest.mark.parametrize(("width", "cell"), [(108, ".922 ± .020"), (96, ".922±.020"), (80, "0.922 ± 0.020")])
def test_narrower_consoles_get_tighter_numbers(rows, width, cell):
    text = printed(rows, width)
    assert max(map(len, text.splitlines())) <= width
    assert re.search(rf"grad_kl +{re.escape(cell)} ", text)
    assert text.count("grad_kl") == (2 if width == 80 else 1)
    assert len(re.findall(re.escape(cell), text)) == 6


@pytest.mark.parametrize("width", [20, 50, 80, 100, 120, 200])
def test_no_number_is_ever_cut_and_no_name_lost(make_run, width):
    name = "ensemble(reconstruction_l1,grad_kl,projection)[x]"
    rows = aggregate(Collection([make_run(seed, {name: 0.8125 + seed / 8}) for seed in (0, 1)]))
    text = printed(rows, width)
    assert "…" not in text
    tables = text.split("All metrics")[0].split("─\n")[1:]
    assert sum(len(re.findall(r"(?<!\d)0?\.875(?!\d)", table)) for table in tables) == 6
    assert sum(len(re.findall(r"(?<!\d)0?\.088(?!\d)", table)) for table in tables) == 6
    body = [re.split(r"\n\s*\n|\n\s*model", table)[0] for table in tables]
    for table in body:
        assert re.sub(r"vae|2/2|[\s±]|(?<!\w)1(?!\w)|0?\.(875|088)", "", table).startswith(name)


def test_the_best_mean_is_bold_and_incomplete_rows_are_coloured(rows):
    text = printed(rows, 120, force_terminal=True, color_system="standard")
    assert text.count("\x1b[1m0.922 ± 0.020") == 6
    assert "\x1b[1m0.620" not in text
    assert text.count("\x1b[33m1/2*") == 2


def test_a_table_per_dataset_with_its_own_best(make_run):
    runs = [make_run(0, {"a": value}, dataset=name, setting_id=name) for name, value in (("x", 0.3), ("y", 0.6))]
    text = markdown(aggregate(Collection(runs)))
    assert text.count("### ") == 2
    assert text.count("**0.300**") == text.count("**0.600**") == 6


def test_csv_has_every_number_in_full(rows):
    lines = list(csv_module.DictReader(io.StringIO(csv(rows))))
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert (line["setting_id"], line["predictor"], line["model"]) == (row.setting_id, row.predictor, row.model)
        assert (int(line["n"]), int(line["N"]), float(line["beta"])) == (row.n, row.planned, row.beta)
        for metric, one in row.test.items():
            for part in ("mean", "sd", "ci_low", "ci_high", "n"):
                value = getattr(one, part.removeprefix("ci_"))
                assert line[f"{metric}_{part}"] == ("" if value is None else repr(value))
        mean = row.validation["dice"].mean
        assert line["validation_dice_mean"] == ("" if mean is None else repr(mean))


def test_the_table_says_how_much_was_smoothed_and_who_knew_the_sign(make_run):
    searched = {"members": ["a", "c"], "how": "mean", "ap": 0.1, "pixels": 9, "anomalous_pixels": 3, "tried": 2}

    def predictors(seed):
        return {
            "a": {"value": 0.9, "map": map_choice(1.0 + seed)},
            "b": {"value": 0.8, "map": map_choice(0.5, "config")},
            "c": {"value": 0.7, "map": map_choice(2.0, "size", sign="negative", sign_by="dataset")},
            "d": {"value": 0.6, "map": map_choice(2.0, sign=("positive", "negative")[seed], sign_by="validation")},
            "e": {
                "value": 0.5,
                "choice": searched,
            },
        }

    rows = aggregate(Collection([make_run(seed, predictors(seed)) for seed in range(2)]))
    lines = markdown(rows).splitlines()
    assert lines[2].startswith("| model | beta | predictor | smooth | sign | pixel AUROC |")
    assert [line.split(" | ")[2:5] for line in lines[4:9]] == [
        ["a", "1–2 px", "–"],
        ["b", "0.5 px fixed", "–"],
        ["c", "2 px by size", "− dataset"],
        ["d", "2 px", "± validation"],
        ["e", "–", "members"],
    ]
    text = " ".join("\n".join(lines).split())
    assert "smooth: standard deviation of the Gaussian over a row's maps" in text
    assert "(dataset.polarity), for c, e. Other rows do not know it." in text
    assert "chosen with the labels of validation images, for d." in text
    for width in (200, 120, 80, 40):
        assert "1–2" in printed(rows, width)
    assert "± valid" in " ".join(printed(rows, 120).split())


def test_without_choices_nothing_is_said_of_them(rows):
    text = markdown(rows)
    assert "smooth" not in text
    assert "sign" not in text.replace("signs", "")


def test_the_csv_has_the_choices_and_a_column_for_each_width(make_run):
    chosen = [
        map_choice(1.0, sign="positive", sign_by="validation"),
        map_choice(2.0, sign="negative", sign_by="validation"),
    ]
    runs = [make_run(seed, {"a": {"map": choice}, "b": 0.2}) for seed, choice in enumerate(chosen)]
    found = {row["predictor"]: row for row in csv_module.DictReader(io.StringIO(csv(aggregate(Collection(runs)))))}
    about = ("smooth", "smooth_by", "sign", "sign_by")
    assert [found["a"][key] for key in about] == ["1|2", "validation", "negative|positive", "validation"]
    assert float(found["a"]["ap_smooth_0_mean"]) == pytest.approx(0.35)
    assert float(found["a"]["validation_aupro_smooth_2_mean"]) == pytest.approx(0.46)
    assert [found["b"][key] for key in (*about, "ap_smooth_0_mean")] == [""] * 5


def test_the_view_of_smoothing_marks_what_was_chosen_with_validation_beside_test(make_run):
    chosen = {"a": [1.0, 2.0], "b": [0.0, 0.0]}
    kinds = {"a": "validation", "b": "config"}
    runs = [
        make_run(seed, {name: {"map": map_choice(widths[seed], kinds[name])} for name, widths in chosen.items()})
        for seed in range(2)
    ]
    board = build(Collection(runs))
    found = {sheet.title: sheet for sheet in sheets(board, ["smoothing"])}
    assert list(found) == [f"tiny: {name} over smoothing" for name in ("pixel AUROC", "AP", "dice_oracle", "AUPRO")]
    sheet = found["tiny: AP over smoothing"]
    assert sheet.header == ("model", "beta", "predictor", "0 px", "1 px", "2 px")
    assert {row[2]: row[3:] for row in sheet.rows} == {
        "a": ("0.350 (0.360)", "0.450 (0.460) chosen 1/2", "0.450 (0.460) chosen 1/2"),
        "b": ("0.500 (0.510) fixed", "0.400 (0.410)", "0.300 (0.310)"),
    }
    assert "0.450 (0.460) chosen 1/2" in board_markdown(board)
    assert json.loads(board_json(board))["smoothing"][0]["widths"][1]["chosen"] in (1, 0)


def test_bare_text_marks_what_is_equivalent_and_says_what_is_over_seeds_alone(make_run):
    values = [{"a": 0.9 + seed / 1e4, "b": 0.896 + seed / 1e4 - 1e-5 * seed**2, "c": 0.2} for seed in range(3)]
    board = build(Collection([make_run(seed, values[seed], setting_id="s") for seed in range(3)]))
    (text, shown) = (printed(board.main, 160, force_terminal=terminal) for terminal in (False, True))
    assert next(line for line in text.splitlines() if " b " in line).count("≈") >= 1
    assert not any("≈" in line for line in text.splitlines() if " c " in line)
    assert "≈: equivalent to the best" in text
    assert "≈" not in shown
    assert "Compared over seeds alone" in text


def test_predictors_over_datasets_lead_and_say_what_chose_their_settings(make_sweep):
    runs = make_sweep({"a": 0.6, "b": 0.7}, ["d0", "d1"])
    first, second = leading_sheets(build(Collection(runs)))
    assert first.title == "AP of predictors over datasets, settings by AP on validation"
    assert second.title == "pixel AUROC of predictors over datasets, settings by pixel AUROC on validation"
    assert leading_sheets(build(Collection([run for run in runs if run.dataset == "d0"]))) == []
    stream, piped = io.StringIO(), io.StringIO()
    print_sheet(first, Console(file=stream, width=120, force_terminal=True))
    assert re.search(r"\x1b\[1m0\.\d+ ± 0\.\d+", stream.getvalue())
    assert "bold is a column's best" in stream.getvalue()
    print_sheet(first, Console(file=piped, width=80))
    assert "bold" not in piped.getvalue()
    alone = build(Collection([run for run in runs if run.beta == 1.0]))
    assert leading_sheets(alone)[0].title == "AP of predictors over datasets"


def test_a_view_is_divided_by_columns_where_the_console_is_narrow():
    header = ("model", "beta", "predictor", *(f"column {at}" for at in range(9)))
    rows = [("beta_vae", "1", f"row{at}", *(f"{at}.{column} to 0.999" for column in range(9))) for at in range(3)]
    stream = io.StringIO()
    print_sheet(Sheet("versus", "title", header, rows, "caption"), Console(file=stream, width=80))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert all(text.count(cell) == 1 for row in rows for cell in row[3:])
    assert text.count("row1") == text.count("predictor") == 3
    assert text.count("caption") == text.count("title") == 1


@pytest.mark.parametrize(("terminal", "width", "shown"), [(True, 120, 3), (True, 40, 1), (False, 40, 5)])
def test_a_view_ends_where_a_terminal_does_in_lines_and_says_where_the_rest_is(terminal, width, shown):
    """40 rows are 43 lines, and twice as many where the columns are divided."""
    rows = [(f"row{at}", "0.123 ± 0.456", "0.123 ± 0.456", "0.123 ± 0.456") for at in range(40)]
    tables = [Sheet("versus", f"table {at}", ("predictor", "a", "b", "c"), rows) for at in range(5)]
    stream = io.StringIO()
    print_sheets(tables, Console(file=stream, width=width, force_terminal=terminal))
    text = re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue())
    assert re.findall("^table . *$", text, re.M) == [f"table {at}" for at in range(shown)]
    assert (f"… and {5 - shown} more tables of this view" in text) == (shown < 5)
