"""What is marked as no worse, what is chosen, joined and split: on results whose structure is known."""

import numpy as np
import pytest

from leaderboard.board import build
from leaderboard.record import METRICS
from leaderboard.report.plots import plot_data
from leaderboard.results.collect import Collection, PlannedRun
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.comparison import mark
from leaderboard.rows.main_table import all_settings, main_rows, model_free
from leaderboard.rows.notes import notes_of
from leaderboard.rows.views import attribute_rows, chosen, curves, lesion_summaries, subject_summaries
from leaderboard.show.exports import csv, markdown
from leaderboard.show.sheets.views import sheets

NOISE = np.random.default_rng(1).normal(0, 0.01, (8, 5))


def rows_of(runs, **kwargs):
    return aggregate(Collection(list(runs), **kwargs))


def verdicts(rows, metric):
    return {row.predictor: row.versus[metric].verdict for row in mark(rows) if metric in row.versus}


def test_the_best_the_equal_and_the_worse_are_told_apart(make_run):
    levels = {"best": 0.8, "equal": 0.7999, "worse": 0.7}
    runs = [
        make_run(seed, {name: level + NOISE[seed, at] / 5 for at, (name, level) in enumerate(levels.items())})
        for seed in range(8)
    ]
    rows = rows_of(runs)
    assert verdicts(rows, "auroc") == {"best": "best", "equal": "equivalent", "worse": "worse"}
    assert verdicts(rows, "fpr95") == {"worse": "best", "equal": "worse", "best": "worse"}  # lower is better
    worse = next(row for row in mark(rows) if row.predictor == "worse").versus["auroc"]
    assert worse.versus.difference == pytest.approx(-0.1, abs=0.01)
    assert (worse.versus.seeds, worse.versus.subjects, worse.best) == (8, 0, "best of vae, beta 1")
    strict = {row.predictor: row.versus["auroc"].verdict for row in mark(rows, margin=1e-4)}
    assert strict == {"best": "best", "equal": "undecided", "worse": "worse"}


def test_equal_rows_are_equivalent_and_one_seed_decides_nothing(make_run):
    runs = [make_run(seed, {"a": 0.9 + seed / 50, "b": 0.88 - seed / 50, "c": 0.9 + seed / 50}) for seed in (0, 1)]
    assert verdicts(rows_of(runs), "auroc") == {"a": "best", "b": "undecided", "c": "equivalent"}
    assert verdicts(rows_of(runs[:1]), "auroc") == {"a": "best", "b": "undecided", "c": "undecided"}
    (one, *_) = (row for row in mark(rows_of(runs[:1])) if row.predictor == "b")
    assert one.versus["auroc"].versus == (pytest.approx(-0.02), None, None, 1, 0)


def test_subjects_that_differ_leave_a_difference_of_seeds_undecided(make_run):
    def runs(spread):
        without = {
            name: [0.9 - level + spread * (at - 4.5) for at in range(10)] for name, level in {"a": 0, "b": 0.1}.items()
        }
        without["b"] = without["b"][::-1]
        fields = {"subjects": [0.5] * 10}
        return [
            make_run(seed, {
                name: {"value": value + NOISE[seed, 0] / 10, "without": {"auroc": without[name]}} | fields
                for name, value in {"a": 0.9, "b": 0.8}.items()
            }) for seed in range(3)
        ]  # fmt: skip

    assert verdicts(rows_of(runs(1e-5)), "auroc") == {"a": "best", "b": "worse"}
    assert verdicts(rows_of(runs(0.01)), "auroc") == {"a": "best", "b": "undecided"}
    row = next(row for row in mark(rows_of(runs(0.01))) if row.predictor == "b")
    assert row.versus["auroc"].versus.subjects == 10
    assert row.versus["ap"].versus.subjects == 0


def test_the_main_table_has_each_predictor_where_validation_is_best_and_one_row_without_a_model(make_run):
    digests = {"data_fingerprint": "d", "split_digest": "s"}
    runs = [
        make_run(
            seed,
            {
                "a": {"value": 0.9 - beta / 100, "validation": beta / 10},
                "b": {"value": 0.7 + beta / 100 + seed / 1000, "validation": 0.6 - beta / 10},
                "intensity": {"value": 0.5, "validation": 0.5},
            },
            beta=beta,
            setting_id=f"s{beta}",
            provenance=digests,
        )
        for beta in (1.0, 4.0)
        for seed in (0, 1, 2)
    ]
    rows = all_settings(rows_of(runs))
    assert [(row.predictor, row.beta, row.any_setting) for row in rows] == [
        ("a", 1.0, False), ("b", 1.0, False), ("intensity", 1.0, True), ("a", 4.0, False), ("b", 4.0, False)
    ]  # fmt: skip
    main = main_rows(rows, chosen(rows, ["ap"]))
    assert [(row.predictor, row.beta) for row in main] == [("a", 4.0), ("b", 1.0), ("intensity", 1.0)]
    over_seeds = [
        make_run(0, {"b@seeds": 0.75}, beta=beta, setting_id=f"s{beta}", run_id=f"e{beta}", ensemble_of=["x", "y"])
        for beta in (1.0, 4.0)
    ]
    more = all_settings(rows_of([*runs, *over_seeds]))
    both = main_rows(more, chosen(more, ["ap"]))
    assert [row.beta for row in both if row.ensemble] == [1.0], "at the setting of b"
    assert main[1].versus["auroc"].best == "a of vae, beta 4"
    assert rows[1].versus["auroc"].best == "a of vae, beta 1"
    fewer = all_settings(rows_of(runs[1:]))  # a setting lacks a seed: the other one's row stays
    assert [(row.key, row.where, row.n) for row in fewer if row.any_setting] == [(("any", None), ("any", "any"), 3)]
    assert {one.label for one in subject_summaries(fewer) if one.predictor == "intensity"} == {"any"}
    assert {predictor for _, predictor in model_free(fewer)} == {"intensity"}
    lines = csv(fewer).splitlines()
    assert [line.split(",")[1:6] for line in lines if ",intensity," in line] == [["any", "any", "", "", "intensity"]]


def fold_run(make_run, fold, seed=0, value=0.5, of=2, **changes):
    config = {"seed": seed, "dataset": {"split": {"folds": of, "fold": fold}}}
    predictors = {"a": {"value": value, "subjects": [value], "names": [f"subject{fold}"],
                        "lesions": [{"smallest": 1, "largest": None, "lesions": 2, "detected": fold}]}}  # fmt: skip
    return make_run(
        seed, predictors, setting_id=f"fold{fold}", config=config, provenance={"split_digest": f"s{fold}"}, **changes
    )


def test_folds_are_averaged_per_seed_and_their_subjects_joined(make_run):
    values = {(0, 0): 0.6, (1, 0): 0.8, (0, 1): 0.5, (1, 1): 0.7, (0, 2): 0.1}
    plan = [PlannedRun(run_id=f"fold{fold}-{seed}", setting_id=f"fold{fold}", dataset="tiny", model="vae", beta=1.0, seed=seed,
                       folder="f") for fold in (0, 1) for seed in (0, 1, 2)]  # fmt: skip
    (row,) = rows_of([fold_run(make_run, fold, seed, value) for (fold, seed), value in values.items()], planned=plan)
    assert row.samples.test[:, 0] == pytest.approx([0.7, 0.6])
    assert (row.n, row.planned, row.folds, row.label) == (2, 3, 2, "vae")
    assert row.samples.subjects == ("subject0", "subject1")
    np.testing.assert_allclose(row.samples.by_subject["ap"], [[0.6, 0.8], [0.5, 0.7]])
    assert (
        row.note
        == "tiny, vae, beta 1: each seed is the mean over its 2 folds; seeds [2] lack some of them and are left out."
    )
    assert lesion_summaries([row])[0].rate.mean == 0.25


def test_folds_without_any_complete_seed_stay_rows_of_their_own(make_run):
    rows = rows_of([fold_run(make_run, fold, of=3) for fold in (0, 1)])
    assert [(row.label, row.n, row.folds) for row in rows] == [("vae#fold0", 1, 0), ("vae#fold1", 1, 0)]


def test_an_ensemble_over_seeds_is_a_row_of_its_own_and_in_no_average(make_run):
    runs = [make_run(seed, {"a": 0.5 + seed / 100}) for seed in range(3)]
    ensemble = make_run(0, {"a@seeds": 0.9}, run_id="e", ensemble_of=[run.run_id for run in runs])
    first, second = mark(rows_of([*runs, ensemble]))
    assert (first.predictor, first.ensemble, first.count, first.test["ap"].mean) == ("a@seeds", 3, "of 3", 0.9)
    assert (second.predictor, second.count, second.test["ap"].mean) == ("a", "3/3", pytest.approx(0.51))
    assert second.versus["ap"].verdict == "best"
    assert [one.predictor for one in chosen([first, second], ["ap"])] == ["a"]


def test_validation_chooses_beta_and_the_oracle_is_shown_beside_it(make_run):
    values = {1.0: (0.6, 0.9), 2.0: (0.8, 0.7), 4.0: (0.7, 0.6)}
    runs = [
        make_run(0, {"a": {"value": test, "validation": validation}, "b": 0.5}, beta=beta, setting_id=f"s{beta}")
        for beta, (validation, test) in values.items()
    ]
    a, b = sorted(chosen(rows_of(runs), ["auroc"]), key=lambda one: one.predictor)
    assert (a.row.beta, a.row.test["auroc"].mean, a.oracle.beta, a.candidates) == (2.0, 0.7, 1.0, 3)
    assert (b.row, b.why) == (None, "no setting has auroc on validation")
    lower = next(one for one in chosen(rows_of(runs), ["fpr95"]) if one.predictor == "a")
    assert (lower.row.beta, lower.oracle.beta) == (1.0, 4.0)


def test_the_front_of_time_and_quality_by_brute_force(make_run):
    random = np.random.default_rng(3)
    points = {f"p{at}": (float(random.integers(1, 6)), float(random.integers(1, 6)) / 10) for at in range(12)}
    run = make_run(0, {name: {"value": value, "seconds_per_image": time} for name, (time, value) in points.items()})
    for metric, sign in (("auroc", 1), ("fpr95", -1)):
        found = {one.predictor for one in chosen(rows_of([run]), [metric]) if one.front}
        assert found == {
            name for name, (time, value) in points.items()
            if not any(t <= time and sign * v >= sign * value and (t, v) != (time, value) for t, v in points.values())
        }  # fmt: skip


def test_curves_join_betas_and_nothing_else(make_run):
    def run(beta, latent, value):
        config = {"seed": 0, "model": {"latent": latent, "beta": beta}}
        return make_run(0, {"a": value}, beta=beta, config=config, setting_id=f"s{latent}{beta}")

    found = curves(rows_of([run(4.0, 16, 0.4), run(1.0, 16, 0.1), run(1.0, 32, 0.2)]), ["ap"])
    assert [(curve.label, [(point.beta, point.test.mean) for point in curve.points]) for curve in found] == [
        ("vae#s161", [(1.0, 0.1), (4.0, 0.4)]),
        ("vae#s321", [(1.0, 0.2)]),
    ]


def test_what_depends_on_no_model_has_the_same_value_at_every_beta_of_every_setting(make_run):
    def run(beta, latent, value):
        config = {"seed": 0, "model": {"latent": latent, "beta": beta}}
        return make_run(0, {"a": value, "intensity": 0.5}, beta=beta, config=config, setting_id=f"s{latent}{beta}")

    board = build(Collection([run(1.0, 16, 0.1), run(4.0, 16, 0.4), run(0.5, 32, 0.2), run(2.0, 32, 0.3)]))
    found = {
        curve.label: [(point.beta, point.test.mean, point.n, point.planned) for point in curve.points]
        for curve in board.curves
        if (curve.predictor, curve.metric) == ("intensity", "ap")
    }
    assert found == {
        "vae#s161": [(1.0, 0.5, 1, 1), (4.0, 0.5, 1, 1)],
        "vae#s320": [(0.5, 0.5, 1, 1), (2.0, 0.5, 1, 1)],
    }
    sheet = next(sheet for sheet in sheets(board, ["beta"]) if sheet.title == "tiny, vae#s161: AP over beta")
    assert [row for row in sheet.rows if row[0] == "intensity"] == [("intensity", "0.500", "0.500")]
    (drawn,) = (
        one["points"]
        for plot in plot_data(board)["beta"]
        if (plot["where"], plot["metric"]) == ("tiny, vae#s161", "AP")
        for one in plot["curves"]
        if one["name"] == "intensity"
    )
    assert [point[:2] for point in drawn] == [[1.0, 0.5], [4.0, 0.5]]


def test_subjects_attributes_and_lesions_are_summed_up_over_seeds(make_run):
    def run(seed, shift):
        groups = {"sex": {"f": {"ap": {"value": 0.25 + shift, "low": None, "high": None}}}, "category": {"x": {}}}
        lesions = [{"smallest": 1, "largest": 10, "lesions": 4, "detected": seed}, {"smallest": 11, "largest": None,
                    "lesions": 0, "detected": 0}]  # fmt: skip
        subjects = [0.2 + shift, 0.4 + shift, None]
        return make_run(seed, {"a": {"value": 0.5, "subjects": subjects, "groups": groups, "lesions": lesions}})

    rows = rows_of([run(1, 0.0), run(3, 0.1)])
    dice, _ = subject_summaries(rows)
    assert (dice.metric, dice.mean, dice.subjects) == ("dice", pytest.approx(0.35), 2)
    assert dice.low == pytest.approx(0.25)
    assert dice.variance.subject == pytest.approx(0.02**0.5)
    assert dice.variance.seed == pytest.approx(0.005**0.5)
    assert dice.variance.residual == pytest.approx(0.0, abs=1e-9)
    (attribute,) = attribute_rows(rows, METRICS)
    assert (attribute.attribute, attribute.value, attribute.metrics["ap"].mean) == ("sex", "f", pytest.approx(0.3))
    (lesion,) = lesion_summaries(rows)
    assert (lesion.smallest, lesion.largest, lesion.lesions, lesion.rate.mean) == (1, 10, 4.0, 0.5)


def test_a_setting_with_fewer_seeds_is_not_chosen_and_the_notes_say_so(make_run):
    def run(beta, seed, names="ab"):
        predictors = {name: {"value": 0.5 + beta / 100, "validation": beta / 10} for name in names}
        return make_run(seed, predictors, beta=beta, setting_id=f"s{beta}")

    runs = [run(1.0, 0), run(1.0, 1), run(2.0, 0), run(2.0, 1, "a"), run(4.0, 0)]
    board = build(Collection(runs))
    assert [(row.predictor, row.beta) for row in board.main] == [("a", 2.0), ("b", 1.0)]
    expected = [
        "tiny, vae, beta 2: not considered when settings were chosen, 1 of 2 seeds of b.",
        "tiny, vae, beta 4: not considered when settings were chosen, 1 of 2 seeds.",
    ]
    assert notes_of(board.main) == board.notes == expected
    assert all(f"- {line}" in markdown(board.main).splitlines() for line in expected)
    whole = build(Collection([*runs[:2], run(4.0, 0), run(4.0, 1)]))
    assert [row.beta for row in whole.main] == [4.0, 4.0]
    assert whole.notes == []
    plain = build(Collection([make_run(0, beta=beta, setting_id=f"s{beta}") for beta in (1.0, 4.0)]))
    assert plain.notes == [], "nothing is hidden where nothing is chosen"
