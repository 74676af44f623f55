"""The schema of a result: strict JSON, exact round trips, nothing overwritten, every damage named."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import leaderboard
from leaderboard.json_file import ResultError, parse_document
from leaderboard.record import METRICS, Measure, RunResult, comparable, read_result, write_result


def edit(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_round_trip_is_exact_and_leaves_no_temporary_file(tmp_path, make_result):
    result = make_result(predictors={"grad_kl": 0.1 + 0.2, "intensity": None}, beta=1 / 3)
    path = tmp_path / "run" / "result.json"
    write_result(result, path)
    assert read_result(path) == result
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


@given(st.floats(0, 1), st.integers(-(2**31), 2**31), st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_json(make_result, value, seed, beta):
    result = make_result(seed, {"p": value}, beta=beta, config={"deep": [{"x": beta}], "seed": seed})
    text = json.dumps(result.model_dump(mode="json"), allow_nan=False)
    assert parse_document(text, RunResult, Path("x"), "") == result


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "place",
    [
        lambda bad: {"beta": bad},
        lambda bad: {"training": {"elbo": bad}},
        lambda bad: {"config": {"model": {"lr": [0.1, bad]}}},
        lambda bad: {"predictors": {"p": bad}},
        lambda bad: {"provenance": {"durations": {"fit": bad}}},
    ],
)
def test_non_finite_numbers_are_refused_everywhere(make_result, place, bad):
    with pytest.raises(ValidationError, match="finite"):
        make_result(**place(bad))


@pytest.mark.parametrize(("value", "where"), [((1, 2), "config.a is a tuple"), ({1: 2}, "config.a has the key 1")])
def test_config_must_come_back_from_json_unchanged(make_result, value, where):
    with pytest.raises(ValidationError, match=where):
        make_result(config={"a": value})


def test_a_number_that_turned_non_finite_later_is_not_written(tmp_path, make_result):
    result = make_result()
    result.training["elbo"] = math.nan
    with pytest.raises(ResultError, match=r"result\.json: not written, .*non-finite"):
        write_result(result, tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_results_are_immutable_and_unknown_keys_are_rejected(make_result):
    result = make_result()
    with pytest.raises(ValidationError, match="frozen"):
        result.seed = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        make_result(sede=3)


def test_measures_are_ordered_and_metrics_known_and_complete(make_result):
    with pytest.raises(ValidationError, match="low <= value <= high"):
        Measure(value=0.5, low=0.6, high=0.7)
    assert Measure(value=None, low=None, high=None).value is None
    one = make_result().model_dump()
    del one["predictors"]["grad_kl"]["test"]["ap"]
    with pytest.raises(ValidationError, match=r"missing metrics \['ap'\]"):
        RunResult.model_validate(one)
    one["predictors"]["grad_kl"]["validation"]["auc"] = {"value": 0.5, "low": 0.5, "high": 0.5}
    with pytest.raises(ValidationError, match=r"unknown metrics \['auc'\]"):
        RunResult.model_validate(one)


@pytest.mark.parametrize("created", ["2026-01-02T03:04:05", "2026-01-02T03:04:05+02:00", "yesterday"])
def test_created_must_be_utc(make_result, created):
    with pytest.raises(ValidationError, match="created"):
        make_result(provenance={"created": created})


def test_the_same_result_is_kept_and_a_different_one_refused(tmp_path, make_result):
    path = tmp_path / "result.json"
    write_result(make_result(), path)
    first = path.read_bytes()
    write_result(make_result(provenance={"created": "2027-01-01T00:00:00Z", "durations": {"fit": 9.0}}), path)
    assert path.read_bytes() == first
    with pytest.raises(ResultError, match=r"result\.json: already holds a different result .*never overwritten"):
        write_result(make_result(predictors={"grad_kl": 0.8}), path)
    assert path.read_bytes() == first


def test_a_write_that_is_interrupted_leaves_nothing_behind(tmp_path, make_result, monkeypatch):
    def full_disk(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("leaderboard.json_file.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_result(make_result(), tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_result_is_not_overwritten(tmp_path, make_result):
    path = tmp_path / "result.json"
    path.write_text("{")
    with pytest.raises(ResultError, match="damaged JSON"):
        write_result(make_result(), path)
    assert path.read_text() == "{"


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": NaN}', "\udcff"])
def test_damaged_json_names_file_and_remedy(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(ResultError, match=re.escape(str(path)) + ": damaged JSON .*Delete the file.*make bench"):
        read_result(path)


def test_missing_file_and_missing_keys_are_named(tmp_path, make_result):
    path = tmp_path / "result.json"
    with pytest.raises(ResultError, match="No such file"):
        read_result(path)
    write_result(make_result(), path)
    edit(path, lambda document: document["provenance"].pop("device"))
    with pytest.raises(ResultError, match=r"not a valid RunResult \(provenance\.device: Field required\).*make bench"):
        read_result(path)
    edit(path, lambda document: document.update(seed="0", provenance=document["provenance"] | {"device": "cpu"}))
    with pytest.raises(ResultError, match="seed: Input should be a valid integer"):
        read_result(path)


@pytest.mark.parametrize(
    ("version", "remedy"), [(2, "Upgrade anomaly-bench"), (0, "Delete"), ("1", "Delete"), (None, "Delete")]
)
def test_other_schema_versions_are_refused(tmp_path, make_result, version, remedy):
    path = tmp_path / "result.json"
    write_result(make_result(), path)
    edit(path, lambda document: document.update(schema_version=version))
    with pytest.raises(ResultError, match=rf"version is {version!r}; this anomaly-bench supports version 1\. {remedy}"):
        read_result(path)


def test_comparable_ignores_time_and_nothing_else(make_result):
    result = make_result()
    later = make_result(provenance={"created": "2027-01-01T00:00:00+00:00", "durations": {}}).model_dump()
    later["predictors"]["grad_kl"]["seconds_per_image"] = 7.0
    assert comparable(result, RunResult.model_validate(later))
    last_bit = math.nextafter(0.9, 1)
    assert not comparable(result, make_result(predictors={"grad_kl": last_bit}))
    assert not comparable(result, make_result(provenance={"threads": 3}))
    assert not comparable(result, make_result(training={"epochs": 4}))
    assert set(METRICS) == set(result.predictors["grad_kl"].test)


def test_the_leaderboard_imports_no_torch():
    rooms = ", ".join(
        f"leaderboard.{path.stem}" for path in sorted(Path(leaderboard.__file__).parent.glob("[a-z]*.py"))
    )
    banned = "('torch', 'anomaly_bench', 'data_modules')"
    code = f"import sys, {rooms}; print([name for name in {banned} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_schema_loads_without_the_numeric_libraries():
    code = "import sys, leaderboard.record; print([n for n in ('numpy', 'scipy', 'rich') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
