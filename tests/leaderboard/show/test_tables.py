"""What the tables say, at every width, to the letter where it matters."""

import csv as csv_module
import io
import re

import pytest
from rich.console import Console

from leaderboard.results.collect import Collection, PlannedRun
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.row import Row
from leaderboard.show.exports import csv, markdown
from leaderboard.show.tables import LEGEND, print_tables

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
    assert ["reconstruction_l1", *["0.620", "±", "0.010"] * 6, "3/3"] in words(text)
    assert ["vae", "4", "grad|kl*", *["0.500"] * 6, "1/2*"] in words(text)
    assert ["none", *["–"] * 6, "1/2*"] in words(text)
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
