"""The gate passes what is as good, and fails on anything worse, missing or measured over fewer seeds."""

import io
from xml.etree import ElementTree

import pytest
from msgspec.structs import asdict, replace
from rich.console import Console

from leaderboard.json_file import ResultError
from leaderboard.results.collect import Collection, PlannedRun
from leaderboard.rows.aggregate import aggregate
from leaderboard.show.check import diff_table, junit, step_summary
from leaderboard.statistics.samples import summarise
from leaderboard.verdicts.check import (
    Baseline,
    Checked,
    compare,
    make_baseline,
    read_baseline,
    setting_changes,
    tolerance,
    write_baseline,
)

KEY = "vae|beta=1|grad_kl"


@pytest.fixture
def rows(make_run):
    def _rows(shift=0.0, seeds=3, value=0.8, **changes):
        values = {"grad_kl": None if value is None else value + shift, "intensity": 0.5}
        return aggregate(Collection([make_run(seed, values, **changes) for seed in range(seeds)]))

    return _rows


def statuses(rows, baseline):
    return {verdict.key: verdict.status for verdict in compare(rows, baseline)}


def test_tolerance_is_the_larger_of_a_fiftieth_and_three_standard_errors_of_a_difference():
    assert tolerance(summarise([0.8])) == 0.02
    assert tolerance(summarise([0.8, 0.8])) == 0.02
    assert tolerance(summarise([0.7, 0.8, 0.9])) == 0.245  # 3 · 0.1 · √(2/3) = 0.24494...
    assert tolerance(summarise([0.799, 0.801])) == 0.02
    assert tolerance(summarise([0.7, 0.8, 0.9, 0.9, 0.8, 0.7, 0.8, 0.8])) == 0.114  # 3 · 0.0755928... / 2 = 0.11338...


def test_the_baseline_records_what_was_reached_and_round_trips(tmp_path, rows):
    baseline = make_baseline(rows(), "make bench DATASET=tiny")
    assert list(baseline.predictors) == [KEY, "vae|beta=1|intensity"]
    assert asdict(baseline.predictors[KEY]) == {
        "mean": 0.8,
        "sd": summarise([0.8] * 3).sd,
        "n": 3,
        "tolerance": 0.02,
    }
    path = tmp_path / "baselines" / "tiny.json"
    write_baseline(baseline, path)
    assert read_baseline(path) == baseline
    assert statuses(rows(), baseline) == {KEY: "same", "vae|beta=1|intensity": "same"}


@pytest.mark.parametrize(
    ("shift", "status", "fails"),
    [(-0.021, "worse", True), (-0.019, "same", False), (0.019, "same", False), (0.021, "better", False)],
)
def test_the_mean_is_held_against_the_tolerance(rows, shift, status, fails):
    verdicts = compare(rows(shift), make_baseline(rows(), "c"))
    found = next(verdict for verdict in verdicts if verdict.key == KEY)
    assert (found.status, found.failed) == (status, fails)
    assert any(verdict.failed for verdict in verdicts) == fails


def test_missing_rows_undefined_values_and_fewer_seeds_fail(rows, make_run):
    baseline = make_baseline(rows(), "c")
    assert all(verdict.failed for verdict in compare([], baseline))
    assert set(statuses([], baseline).values()) == {"missing"}
    assert set(statuses(rows(beta=2.0), baseline).values()) == {"missing", "new"}
    assert statuses(rows(value=None), baseline)[KEY] == "undefined"
    assert statuses(rows(seeds=2), baseline)[KEY] == "fewer seeds"
    assert statuses(rows(shift=-0.5, seeds=2), baseline)[KEY] == "worse"
    assert all(verdict.failed for verdict in compare(rows(seeds=2), baseline))


def test_new_predictors_are_mentioned_and_do_not_fail(rows, make_run):
    baseline = make_baseline(aggregate(Collection([make_run(0)])), "c")
    found = compare(rows(value=0.9), baseline)
    assert [(verdict.key, verdict.status, verdict.failed) for verdict in found] == [
        ("vae|beta=1|intensity", "new", False),
        (KEY, "same", False),
    ]


def test_another_metric_can_be_the_one_that_counts(rows):
    baseline = make_baseline(rows(), "c", metric="aupro")
    assert baseline.metric == "aupro"
    assert statuses(rows(-0.1), baseline)[KEY] == "worse"
    with pytest.raises(ResultError, match="unknown metric 'f1'; expected one of"):
        make_baseline(rows(), "c", metric="f1")


def test_datasets_must_match(rows):
    baseline = make_baseline(rows(), "c")
    with pytest.raises(ResultError, match=r"baseline is of dataset 'tiny', the results are of \['other'\]"):
        compare(rows(dataset="other"), baseline)
    with pytest.raises(ResultError, match=r"one dataset, these rows are of \['other', 'tiny'\]"):
        make_baseline(rows() + rows(dataset="other"), "c")
    with pytest.raises(ResultError, match="these rows are of none"):
        make_baseline([], "c")


def test_a_baseline_needs_all_planned_seeds_and_values(rows, make_run):
    plan = PlannedRun(run_id="x", setting_id="aaaa0000", dataset="tiny", model="vae", beta=1.0, seed=9, folder="x")
    with pytest.raises(
        ResultError, match=r"has auroc for 1 of 2 planned seeds; a baseline needs all.*anomaly-bench bench"
    ):
        make_baseline(aggregate(Collection([make_run(0)], planned=[plan])), "c")
    with pytest.raises(ResultError, match="has auroc for 0 of 3 planned seeds"):
        make_baseline(rows(value=None), "c")


def test_a_baseline_that_could_not_fail_is_refused(tmp_path):
    path = tmp_path / "tiny.json"
    with pytest.raises(ResultError, match=r"predictors: Expected `object` of length >= 1.*Not written"):
        write_baseline(Baseline(dataset="tiny", metric="auroc", command="c", predictors={}), path)
    with pytest.raises(ValueError, match="no metric to check, 'fpr95'"):
        Baseline(dataset="tiny", metric="fpr95", command="c", predictors={})
    path.write_text('{"schema_version": 1, "dataset": "tiny", "metric": "auroc", "command": "c", "predictors": {}}')
    with pytest.raises(ResultError, match=r"tiny\.json: not a valid Baseline .*Restore it from version control"):
        read_baseline(path)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_diff_says_what_failed_and_what_to_do(rows, width):
    stream = io.StringIO()
    baseline = make_baseline(rows(), "c")
    diff_table(Checked(baseline, compare(rows(-0.1, seeds=2)[:1], baseline), []), Console(file=stream, width=width))
    text = stream.getvalue()
    assert "0.800    0.700 -0.100 0.020   2/3" in text
    assert "0.500    –     –      0.020   0/3" in text
    assert "worse: the mean fell by more" in text
    assert "missing: no such row" in text
    assert text.strip().endswith("FAILED: 2 of 2 checked predictors")


def test_the_diff_of_a_pass_says_so_and_asks_for_a_new_baseline_when_better(rows):
    stream = io.StringIO()
    baseline = make_baseline(rows(), "c")
    diff_table(Checked(baseline, compare(rows(0.1), baseline), []), Console(file=stream, width=80))
    assert "better: update the baseline" in stream.getvalue()
    assert stream.getvalue().strip().endswith("passed: 2 predictors")


def test_changed_settings_are_flagged_and_the_code_is_not(rows):
    baseline = make_baseline(rows(config={"seed": 0, "model": {"latent": 16}}), "c")
    changed = rows(config={"seed": 0, "model": {"latent": 32}, "new": 1}, provenance={"source_digest": "other"})
    assert setting_changes(rows(config={"seed": 1, "model": {"latent": 16}}), baseline) == []
    assert setting_changes(changed, baseline) == ["vae|beta=1: model.latent 16 → 32", "vae|beta=1: new absent → 1"]
    assert setting_changes(changed, replace(baseline, settings={})) == []


def test_junit_stays_xml_whatever_the_names_are(rows):
    baseline = make_baseline(rows(model='a\x00\x1b[31m<&"]]>'), "c")
    found = Checked(baseline, compare([], baseline), ["vae|beta=1: key \x07 → 1"])
    root = ElementTree.fromstring(junit([found], ["runs/\x08/result.json: damaged \x01"]))
    assert next(case.get("name") for case in root.iter("testcase")).startswith('a\ufffd\ufffd[31m<&"]]>|beta=1|')
    assert root.find("testsuite[2]/testcase/error").get("message") == "runs/\ufffd/result.json: damaged \ufffd"


def test_junit_and_step_summary_say_what_the_table_says(rows):
    baseline = make_baseline(rows(), "c")
    broken = Checked(baseline, compare(rows(-0.1), baseline), ["vae|beta=1: model.latent 16 → 32"])
    root = ElementTree.fromstring(junit([broken], ["runs/a<b>/result.json: damaged JSON"]))
    suite, damaged = root.findall("testsuite")
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("tiny.auroc", "2", "1")
    case = suite.find("testcase[@name='vae|beta=1|grad_kl']/failure")
    assert case.get("message") == "worse: baseline 0.800, now 0.700, change -0.100, allowed 0.020, seeds 3/3"
    assert damaged.get("errors") == "1"
    assert damaged.find("testcase/error").get("message") == "runs/a<b>/result.json: damaged JSON"
    text = step_summary([broken], ["runs/x: damaged"])
    assert "### ❌ tiny, auroc: FAILED: 1 of 2 checked predictors" in text
    assert r"| worse | vae\|beta=1\|grad_kl | 0.800 | 0.700 | -0.100 | 0.020 | 3/3 |" in text
    assert "settings differ from the baseline's: vae\\|beta=1: model.latent 16 → 32" in text
    assert "<details><summary>1 unchanged</summary>" in text
    assert "left out: runs/x: damaged" in text
    assert "✅ tiny, auroc: passed: 2 predictors" in step_summary(
        [Checked(baseline, compare(rows(), baseline), [])], []
    )
