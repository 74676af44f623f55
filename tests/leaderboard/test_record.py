"""The schema of a result: strict JSON, exact round trips, nothing overwritten, every damage named."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

import leaderboard
from leaderboard.json_file import ResultError
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
def test_every_float_survives_json(make_result, tmp_path_factory, value, seed, beta):
    result = make_result(seed, {"p": value}, beta=beta, config={"deep": [{"x": beta}], "seed": seed})
    path = tmp_path_factory.mktemp("run") / "result.json"
    write_result(result, path)
    assert read_result(path) == result


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "place",
    [
        lambda bad: {"beta": bad},
        lambda bad: {"training": {"elbo": bad}},
        lambda bad: {"config": {"model": {"lr": [0.1, bad]}}},
        lambda bad: {"predictors": {"p": {"subjects": [bad]}}},
        lambda bad: {"provenance": {"durations": {"fit": bad}}},
    ],
)
def test_non_finite_numbers_are_written_nowhere(tmp_path, make_result, place, bad):
    with pytest.raises(ResultError, match=rf"result\.json: not written, \w+.* is {bad}; expected a finite number"):
        write_result(make_result(**place(bad)), tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ((1, 2), "config.a is a tuple"),
        ({1: 2}, "config.a has the key 1"),
        ([Path("x")], "config.a.0 is a PosixPath"),
    ],
)
def test_config_must_come_back_from_json_unchanged(tmp_path, make_result, value, where):
    with pytest.raises(ResultError, match=where):
        write_result(make_result(config={"a": value}), tmp_path / "result.json")


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("seed", 1.5, "seed: Expected `int`, got `float`"),
        ("seed", True, "seed: Expected `int`, got `bool`"),
        ("model", "", "model: Expected `str` of length >= 1"),
        ("training", {"epochs": "3"}, r"training\.epochs: Expected"),
    ],
)
def test_what_would_not_be_read_back_is_not_written(tmp_path, make_result, field, value, fault):
    with pytest.raises(ResultError, match=rf"result\.json: not a valid RunResult \({fault}.*Not written"):
        write_result(replace(make_result(), **{field: value}), tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_whole_numbers_are_written_as_the_floats_they_are(tmp_path, make_result):
    write_result(replace(make_result(), beta=4, beta_normalised=np.float64(0.5)), tmp_path / "result.json")
    assert '\n "beta": 4.0,\n "beta_normalised": 0.5,\n' in (tmp_path / "result.json").read_text()


def test_the_schema_version_is_the_first_key(tmp_path, make_result):
    write_result(make_result(), tmp_path / "result.json")
    assert (tmp_path / "result.json").read_text().startswith('{\n "schema_version": 1,\n "run_id":')


def test_results_are_immutable_and_unknown_keys_are_rejected(make_result):
    result = make_result()
    with pytest.raises(AttributeError, match="immutable"):
        result.seed = 3
    with pytest.raises(TypeError, match="sede"):
        RunResult(**asdict(result), sede=3)
    with pytest.raises(msgspec.ValidationError, match="sede"):
        make_result(sede=3)


def test_measures_are_ordered_and_metrics_known_and_complete(make_result):
    for low, value, high in (
        (0.6, 0.5, 0.7),
        (0.4, 0.5, 0.4),
        (0.6, None, 0.5),
        (None, 0.5, 0.4),
        (0.6, 0.5, None),
        (0, math.nan, 1),
    ):
        with pytest.raises(ValueError, match="low <= value <= high"):
            Measure(value=value, low=low, high=high)
    assert Measure(value=None, low=None, high=None).value is None
    assert Measure(value=0.5, low=0.5 + 1e-10, high=0.5 - 1e-10).value == 0.5
    predictor = make_result().predictors["grad_kl"]
    with pytest.raises(ValueError, match=r"test: missing metrics \['ap'\]"):
        replace(predictor, test={name: measure for name, measure in predictor.test.items() if name != "ap"})
    wrong = {"auc": Measure(value=0.5, low=0.5, high=0.5)}
    for changes, where in (
        ({"test": predictor.test | wrong}, "test"),
        ({"validation": wrong}, "validation"),
        ({"groups": {"sex": {"f": wrong}}}, "groups.sex.f"),
    ):
        with pytest.raises(ValueError, match=rf"{where}: unknown metrics \['auc'\]"):
            replace(predictor, **changes)


def test_metrics_of_a_users_own_are_named_and_complete(make_result):
    own, measure = {"own_metrics": ["gap"]}, {"gap": Measure(value=-3.5, low=None, high=None)}
    predictor = make_result().predictors["grad_kl"]
    both = replace(predictor, test=predictor.test | measure, validation=measure, **own)
    assert both.test["gap"].value == -3.5
    with pytest.raises(ValueError, match=r"test: missing metrics \['gap'\]"):
        replace(predictor, **own)
    with pytest.raises(ValueError, match=r"groups\.sex\.f: unknown metrics \['gap'\]"):
        replace(both, groups={"sex": {"f": measure}})


@pytest.mark.parametrize("created", ["2026-01-02T03:04:05", "2026-01-02T03:04:05+02:00", "yesterday"])
def test_created_must_be_utc(make_result, created):
    with pytest.raises(msgspec.ValidationError, match="created"):
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
    with pytest.raises(ResultError, match=re.escape(str(path)) + ": damaged JSON .*Move the run's folder away"):
        read_result(path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda d: d["predictors"]["b"]["test"]["ap"].update(low="0"),
            r"predictors\.b\.test\.ap\.low: Expected `float",
        ),
        (
            lambda d: d["predictors"]["b"]["subjects"][1].update(images=-1),
            r"predictors\.b\.subjects\.1\.images: Expected",
        ),
        (lambda d: d["predictors"]["b"]["test"].pop("dice"), r"predictors\.b: test: missing metrics"),
        (lambda d: d["training"].update(elbo="low"), r"training\.elbo: Expected"),
        (lambda d: d.update(predictors=[]), "predictors: Expected `object`, got `array`"),
    ],
)
def test_the_place_of_a_fault_is_named_with_its_keys(tmp_path, make_result, change, fault):
    path = tmp_path / "result.json"
    write_result(make_result(predictors={"a": 0.5, "b": {"subjects": [0.5, 0.25]}, "c": 0.5}), path)
    edit(path, change)
    with pytest.raises(ResultError, match=rf"not a valid RunResult \({fault}"):
        read_result(path)


def test_a_finished_result_with_a_key_that_is_not_known_is_never_to_be_deleted(tmp_path, make_result):
    path = tmp_path / "result.json"
    write_result(make_result(), path)
    edit(path, lambda document: document["provenance"].update(new=1))
    with pytest.raises(ResultError, match=r"unknown field `new`\)\. Another version .* wrote the key") as caught:
        read_result(path)
    assert not re.search("[Dd]elete|away|again", str(caught.value))


def test_missing_file_and_missing_keys_are_named(tmp_path, make_result):
    path = tmp_path / "result.json"
    with pytest.raises(ResultError, match="No such file"):
        read_result(path)
    write_result(make_result(), path)
    edit(path, lambda document: document["provenance"].pop("device"))
    with pytest.raises(
        ResultError, match=r"\(provenance: Object missing required field `device`\).*anomaly-bench bench"
    ):
        read_result(path)
    edit(path, lambda document: document.update(seed="0", provenance=document["provenance"] | {"device": "cpu"}))
    with pytest.raises(ResultError, match="seed: Expected `int`, got `str`"):
        read_result(path)


@pytest.mark.parametrize(
    ("version", "remedy"), [(2, "Upgrade anomaly-bench"), (0, "Move"), ("1", "Move"), (None, "Move")]
)
def test_other_schema_versions_are_refused(tmp_path, make_result, version, remedy):
    path = tmp_path / "result.json"
    write_result(make_result(), path)
    edit(path, lambda document: document.update(schema_version=version))
    with pytest.raises(ResultError, match=rf"version is {version!r}; this anomaly-bench supports version 1\. {remedy}"):
        read_result(path)


def test_comparable_ignores_time_and_nothing_else(make_result):
    result = make_result()
    later = make_result(
        provenance={"created": "2027-01-01T00:00:00+00:00", "durations": {}},
        predictors={"grad_kl": {"value": 0.9, "seconds_per_image": 7.0}},
    )
    assert comparable(result, later)
    last_bit = math.nextafter(0.9, 1)
    assert not comparable(result, make_result(predictors={"grad_kl": last_bit}))
    assert not comparable(result, make_result(provenance={"threads": 3}))
    assert not comparable(result, make_result(training={"epochs": 4}))
    assert set(METRICS) == set(result.predictors["grad_kl"].test)


def test_the_leaderboard_imports_no_torch():
    package = Path(leaderboard.__file__).parent
    places = [path.relative_to(package.parent).with_suffix("") for path in sorted(package.rglob("[a-z]*.py"))]
    assert len(places) > 30
    rooms = ", ".join(".".join(place.parts) for place in places)
    banned = "('torch', 'anomaly_bench', 'data_modules')"
    code = f"import sys, {rooms}; print([name for name in {banned} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_schema_loads_without_the_numeric_libraries():
    code = "import sys, leaderboard.record; print([n for n in ('numpy', 'scipy', 'rich') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
