"""Metrics of a user's own in the leaderboard: columns, best values, claims; beside runs that have none."""

import csv as csv_module
import io

import pytest
from msgspec.structs import replace
from rich.console import Console
from small_results import result

from anomaly_bench.cli.main import main
from leaderboard.board import build
from leaderboard.record import Measure, write_result
from leaderboard.results.collect import Collection
from leaderboard.results.run_arrays import run_of
from leaderboard.rows.aggregate import aggregate
from leaderboard.show.exports import board_json, board_markdown, csv, markdown
from leaderboard.show.latex import latex
from leaderboard.show.tables import print_tables
from leaderboard.verdicts.claim import test_value as value_on_test
from leaderboard.verdicts.claims import evaluate

GAPS = {"rec_l1": (1.25, 0.5), "grad_kl": (-3.0, None)}


def own(row, gap, validated):
    test, validation = ({"gap": Measure(value=value, low=None, high=None)} for value in (gap, validated))
    return replace(row, test=row.test | test, validation=validation, own_metrics=["gap"])


def results(seeds=2):
    for seed in range(seeds):
        plain = result(seed, dict.fromkeys(GAPS, 0.5), setting_id="own")
        rows = {name: own(plain.predictors[name], gap + seed, validated) for name, (gap, validated) in GAPS.items()}
        yield replace(plain, predictors=rows)
        yield result(seed, {"rec_l1": 0.5}, setting_id="without", model="ae")


@pytest.fixture
def runs():
    return [run_of(one) for one in results()]


def test_they_are_the_last_columns_of_tables_and_the_csv(runs):
    rows = aggregate(Collection(runs))
    lines = markdown(rows).splitlines()
    assert lines[2].endswith("| image AUROC | gap | n/N |")
    cells = {tuple(line.split(" | ")[:3]): line.split(" | ")[-2] for line in lines[4:7]}
    assert cells[("| vae", "1", "rec_l1")] == "**1.750 ± 0.707**"
    assert cells[("| vae", "1", "grad_kl")] == "-2.500 ± 0.707"
    assert cells[("| ae", "1", "rec_l1")] == "–"
    table = list(csv_module.DictReader(io.StringIO(csv(rows))))
    assert list(table[0])[-6:] == [
        *(f"gap_{part}" for part in ("mean", "sd", "ci_low", "ci_high", "n")),
        "validation_gap_mean",
    ]
    found = {(row["model"], row["predictor"]): (row["gap_mean"], row["validation_gap_mean"]) for row in table}
    assert found == {("vae", "rec_l1"): ("1.75", "0.5"), ("vae", "grad_kl"): ("-2.5", ""), ("ae", "rec_l1"): ("", "")}


@pytest.mark.parametrize("width", [200, 120, 60])
def test_a_terminal_shows_them_at_any_width(runs, width):
    stream = io.StringIO()
    print_tables(aggregate(Collection(runs)), Console(file=stream, width=width))
    assert "gap" in stream.getvalue()
    assert stream.getvalue().count("2.500") == 1


def test_claims_can_be_held_against_one_and_runs_without_it_say_nothing(runs):
    rows = aggregate(Collection(runs))
    assert {finding.metric for finding in evaluate(rows, "gap")} == {"gap"}
    values = {(run.model, run.seed): value_on_test(run, "rec_l1", "gap") for run in runs}
    assert values == {("vae", 0): 1.25, ("vae", 1): 2.25, ("ae", 0): None, ("ae", 1): None}
    with pytest.raises(ValueError, match=r"unknown metric 'gop'; expected one of .*'gap'"):
        evaluate(rows, "gop")


def test_every_document_of_a_board_is_written(runs):
    from leaderboard.report import html_report

    board = build(Collection(runs), metric="gap")
    assert "**1.750" in board_markdown(board)
    assert r"\textbf{1.750" in latex(board)
    assert '"gap"' in board_json(board)
    assert "1.750" in html_report(board)


def test_the_command_line_takes_one_by_name(tmp_path, capsys):
    for at, one in enumerate(results()):
        write_result(one, tmp_path / f"{at}/result.json")
    assert main(["leaderboard", str(tmp_path), "--metric", "gap", "--view", "claims"]) == 0
    assert "gap" in capsys.readouterr().out
    assert main(["claims", str(tmp_path), "--metric", "gop"]) == 2
    assert "--metric gop: expected one of auroc, " in (said := capsys.readouterr().err)
    assert said.strip().endswith("gap")
