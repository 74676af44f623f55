"""A result becomes arrays: the numbers arrive where they belong, and what the schema refuses is refused."""

import json
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from leaderboard.json_file import ResultError
from leaderboard.record import METRICS, write_result
from leaderboard.results import collect as collecting
from leaderboard.results.collect import collect
from leaderboard.results.run_arrays import read_run


@pytest.fixture
def stored(tmp_path, make_result):
    lesions = [{"smallest": 1, "largest": None, "lesions": 4, "detected": 3}]
    groups = {"sex": {"f": {"ap": {"value": 0.25, "low": 0.25, "high": 0.25}}}}
    predictors = {
        "a": {"value": 0.75, "validation": 0.5, "subjects": [(0.5, None), (0.25, 0.125)], "lesions": lesions},
        "b": {"value": None, "subjects": [(None, None), (0.75, 0.5)], "groups": groups},
    }
    config = {"seed": 3, "dataset": {"domain": "medical", "size": [64, 64]}, "model": {"act": True, "k": 1, "x": 1.0}}
    write_result(make_result(3, predictors, config=config), tmp_path / "result.json")
    return tmp_path / "result.json"


def test_numbers_arrive_where_they_belong(stored):
    run = read_run(stored)
    assert (run.predictors, run.subjects, run.domain, run.family) == (("a", "b"), ("p1", "p2"), "medical", "tiny")
    np.testing.assert_array_equal(run.test, [[0.75] * len(METRICS), [np.nan] * len(METRICS)])
    assert (run.validation[0] == 0.5).all()
    np.testing.assert_array_equal(run.by_subject["dice"], [[0.5, 0.25], [np.nan, 0.75]])
    np.testing.assert_array_equal(run.by_subject["ap"], [[np.nan, 0.125], [np.nan, 0.5]])
    np.testing.assert_array_equal(run.lesions[1, None], [[4, 3], [0, 0]])
    np.testing.assert_array_equal(run.groups["sex"]["f"][:, METRICS.index("ap")], [np.nan, 0.25])
    assert np.isnan(run.groups["sex"]["f"][:, METRICS.index("auroc")]).all()
    wanted = {"model.act": "true", "model.k": "1", "model.x": "1.0", "dataset.size": "[64, 64]", "seed": "3"}
    assert wanted.items() <= run.facts.items()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("schema_version"), "schema version is None"),
        (lambda d: d.update(schema_version=2), "Upgrade anomaly-bench"),
        (lambda d: d.update(sede=3), "document: Object contains unknown field `sede`"),
        (lambda d: d.update(run_id=""), "run_id: Expected `str` of length >= 1"),
        (lambda d: d.update(seed="0"), "seed: Expected `int`, got `str`"),
        (
            lambda d: d["predictors"]["a"].update(seconds_per_image=-1.0),
            r"predictors\.a\.seconds_per_image: Expected `float` >= 0",
        ),
        (lambda d: d["predictors"]["a"]["test"].pop("ap"), r"predictors\.a: test: missing metrics \['ap'\]"),
        (lambda d: d["predictors"]["a"]["validation"].update(auc={"value": 1, "low": 1, "high": 1}), "unknown metrics"),
        (lambda d: d["predictors"]["a"]["test"]["ap"].update(low=0.9), "low <= value <= high"),
        (lambda d: d["predictors"]["a"]["test"]["ap"].update(low=0.05, high=0.1), "low <= value <= high"),
        (lambda d: d["predictors"]["b"]["groups"]["sex"]["f"]["ap"].update(low=0.9), "low <= value <= high"),
        (lambda d: d["provenance"].update(created="2026-01-02T03:04:05+02:00"), "ISO time in UTC"),
        (lambda d: d["predictors"]["b"]["subjects"].pop(), "scored on different subjects"),
    ],
)
def test_what_the_schema_refuses_is_refused_with_its_words(stored, change, words):
    document = json.loads(stored.read_text())
    change(document)
    stored.write_text(json.dumps(document))
    with pytest.raises(ResultError, match=words):
        read_run(stored)


def test_subjects_in_another_order_are_put_in_that_of_the_first_predictor(tmp_path, make_result):
    predictors = {"a": {"subjects": [0.1, 0.2]}, "b": {"subjects": [0.3, 0.4], "names": ["p2", "p1"]}}
    write_result(make_result(0, predictors), tmp_path / "result.json")
    np.testing.assert_array_equal(read_run(tmp_path / "result.json").by_subject["ap"], [[0.1, 0.2], [0.4, 0.3]])


def test_helper_processes_read_the_same(tmp_path, make_result, monkeypatch):
    for seed in range(4):
        write_result(make_result(seed), tmp_path / str(seed) / "result.json")
    (tmp_path / "2" / "result.json").write_text("{")
    alone = collect(tmp_path)
    monkeypatch.setattr(collecting, "MANY", 2)
    monkeypatch.setattr(collecting, "cpu_count", lambda: 2)
    shared = collect(tmp_path)
    assert [run.run_id for run in shared.results] == [run.run_id for run in alone.results]
    assert shared.damaged == alone.damaged
    assert "damaged JSON" in shared.damaged[0]


def test_results_are_read_without_the_helpers_when_these_die(tmp_path, make_result, monkeypatch):
    def dying(*_: object, **__: object) -> None:
        raise BrokenProcessPool("a helper was killed")

    for seed in range(4):
        write_result(make_result(seed), tmp_path / str(seed) / "result.json")
    monkeypatch.setattr(collecting, "MANY", 2)
    monkeypatch.setattr(collecting, "cpu_count", lambda: 2)
    monkeypatch.setattr("leaderboard.results.collect.ProcessPoolExecutor.map", dying)
    assert len(collect(tmp_path).results) == 4
