"""Means, spreads and intervals against NumPy and SciPy; settings are never mixed, gaps never hidden."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leaderboard.json_file import ResultError
from leaderboard.record import METRICS
from leaderboard.results.collect import Collection, PlannedRun
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.aggregate import NO_RESULT, aggregate
from leaderboard.statistics.samples import summarise


def planned(seed, setting="aaaa0000", **changes) -> PlannedRun:
    fields = {"dataset": "tiny", "model": "vae", "beta": 1.0, "seed": seed, "setting_id": setting}
    return PlannedRun(**(fields | {"run_id": f"{setting}-{seed}", "folder": "f"} | changes))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_summary_agrees_with_scipy(values):
    found = summarise(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert found.sd == pytest.approx(np.sqrt(np.sum((np.array(values) - np.mean(values)) ** 2) / (len(values) - 1)))
    error = stats.sem(values)
    if error > 0:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_summary_of_one_and_of_none():
    one, none = summarise([0.7]), summarise([])
    assert (one.mean, one.sd, one.low, one.high, one.n) == (0.7, None, None, None, 1)
    assert (none.mean, none.sd, none.low, none.high, none.n) == (None, None, None, None, 0)


def test_rows_average_over_seeds_and_are_sorted(make_run):
    values = {"a": [0.5, 0.6, 0.7], "b": [0.9, 0.8, 0.7]}
    runs = [make_run(seed, {name: row[seed] for name, row in values.items()}) for seed in range(3)]
    runs += [make_run(0, beta=0.5, setting_id="half"), make_run(0, dataset="alpha", setting_id="alpha")]
    rows = aggregate(Collection(runs))
    places = [(row.dataset, row.beta, row.predictor) for row in rows]
    assert places == [("alpha", 1, "grad_kl"), ("tiny", 0.5, "grad_kl"), ("tiny", 1, "b"), ("tiny", 1, "a")]
    assert rows[3].test["auroc"] == summarise(values["a"])
    assert rows[3].validation["dice"] == summarise(values["a"])
    assert rows[3].validation["auroc"].n == 0
    assert (rows[3].n, rows[3].planned, rows[3].label, rows[3].note) == (3, 3, "vae", "")
    assert all(set(row.test) == set(row.validation) == set(METRICS) for row in rows)


def test_undefined_values_come_last_and_shrink_the_metric_not_the_row(make_run):
    runs = [make_run(0, {"a": None, "b": 0.1, "c": None}), make_run(1, {"a": None, "b": 0.3, "c": 0.05})]
    rows = aggregate(Collection(runs))
    assert [row.predictor for row in rows] == ["b", "c", "a"]
    assert [(row.n, row.test["auroc"].n) for row in rows] == [(2, 2), (2, 1), (2, 0)]


def test_missing_predictors_and_seeds_show_as_n_of_planned(make_run):
    runs = [make_run(0, {"a": 0.5, "b": 0.6}), make_run(1, {"a": 0.5})]
    by_name = {row.predictor: row for row in aggregate(Collection(runs, planned=[planned(seed) for seed in (0, 1, 2)]))}
    assert (by_name["a"].n, by_name["a"].planned, by_name["a"].complete) == (2, 3, False)
    assert (by_name["b"].n, by_name["b"].planned) == (1, 3)


def test_a_seed_beyond_the_plan_raises_the_number_of_seeds(make_run):
    runs = [make_run(0), make_run(9)]
    assert aggregate(Collection(runs, planned=[planned(0), planned(1)]))[0].planned == 3


def test_a_planned_group_without_results_is_shown(make_run):
    plan = [planned(seed, "bbbb", beta=4.0) for seed in (0, 1)]
    rows = aggregate(Collection([make_run(0)], planned=plan))
    assert (rows[1].predictor, rows[1].beta, rows[1].n, rows[1].planned) == (NO_RESULT, 4.0, 0, 2)


def test_settings_are_never_averaged_and_their_differences_named(make_run):
    def config(seed, latent):
        return {"seed": seed, "model": {"latent": latent, "act": "relu"}, "out": f"folder{seed}-{latent}"}

    runs = [make_run(seed, {"a": 0.2}, config=config(seed, 16)) for seed in (0, 1)]
    runs += [make_run(0, {"a": 0.8}, config=config(0, 32), setting_id="bbbb0000", provenance={"source_digest": "t"})]
    first, second = aggregate(Collection(runs))
    assert [(row.label, row.model, row.test["ap"].mean, row.n) for row in (first, second)] == [
        ("vae#aaaa", "vae", 0.2, 2),
        ("vae#bbbb", "vae", 0.8, 1),
    ]
    assert first.note == second.note
    assert first.note == (
        "tiny, vae, beta 1: settings #aaaa, #bbbb differ in model.latent, provenance.source_digest; never averaged."
    )


def test_suffixes_grow_until_they_differ_and_unfinished_settings_count(make_run):
    plan = [planned(0, "aaaa1111")]
    first, second = aggregate(Collection([make_run(0)], planned=plan))
    assert [first.label, second.label] == ["vae#aaaa0", "vae#aaaa1"]
    assert "nothing that their results record (no result yet: #aaaa1)" in first.note


def test_a_seed_twice_within_a_setting_is_refused(make_run):
    runs = [make_run(0), make_run(0, run_id="again")]
    with pytest.raises(ResultError, match=r"seed 0 lies in two runs, aaaa0000-0 and again\. It would count twice"):
        aggregate(Collection(runs))


def test_ensembles_over_equally_many_seeds_have_names_of_their_own(make_run):
    def ensemble(run_id, *seeds):
        config = {"seed": seeds[0], "seed_ensemble": {"how": "mean", "seeds": list(seeds)}}
        return make_run(0, {"a@seeds": 0.9}, run_id=run_id, ensemble_of=[f"r{seed}" for seed in seeds], config=config)

    members = [(0, 1), (0, 2), (0, 1, 2)]
    runs = [ensemble(f"id{at}", *seeds) for at, seeds in enumerate(members)]
    rows = aggregate(Collection(runs))
    assert {(row.predictor, row.count) for row in rows} == {
        ("a@seeds=0,1", "of 2"),
        ("a@seeds=0,2", "of 2"),
        ("a@seeds", "of 3"),
    }
    rows = aggregate(Collection([*runs, ensemble("abcdef", 0, 1)]))
    assert {"a@seeds=0,1#id0", "a@seeds=0,1#abcd"} < {row.predictor for row in rows}


def test_the_note_on_missing_folds_outlives_that_on_the_ensembles_of_the_setting(make_run):
    def fold(at, seed, **changes):
        config = {"dataset": {"split": {"folds": 2, "fold": at}}} | changes.pop("config", {})
        names = {"a@seeds" if "ensemble_of" in changes else "a": {"value": 0.5, "names": [f"s{at}"]}}
        return make_run(seed, names, setting_id=f"fold{at}", config=config, **changes)

    runs = [fold(0, 0), fold(1, 0), fold(0, 1)]
    for at in (0, 1):
        config = {"seed_ensemble": {"how": "mean", "seeds": [0, 1]}}
        runs.append(fold(at, 0, run_id=f"e{at}", ensemble_of=["x", "y"], config=config))
    row = next(row for row in aggregate(Collection(runs)) if row.predictor == "a")
    assert "seeds [1] lack some of them and are left out" in row.note


@pytest.mark.parametrize(("beta", "text"), [(4.0, "4"), (0.25, "0.25"), (1e-5, "1e-05"), (1 / 3, repr(1 / 3))])
def test_beta_text_reads_back_exactly(beta, text):
    assert beta_text(beta) == text
    assert float(text) == beta
