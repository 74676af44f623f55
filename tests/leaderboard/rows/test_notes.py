"""What is said beside a table."""

from small_results import map_choice

from leaderboard.record import best_is_last
from leaderboard.results.collect import Collection
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.notes import grounds_of, knowledge, notes_of


def rows_of(*runs):
    return aggregate(Collection(list(runs)))


def test_runs_whose_best_epoch_is_their_last_are_counted_and_named(make_run):
    last = {"best_epoch": 3, "epochs": 3}
    runs = [make_run(0, training=last), make_run(1), make_run(2, training=last), make_run(3, training={"epochs": 3})]
    runs += [make_run(0, dataset="other", setting_id="o", training={})]
    (note,) = notes_of(rows_of(*runs))
    assert note == (
        "tiny: in 2 of 4 runs the best epoch is the last, so that they may be undertrained (trainer.max_epochs): "
        "vae beta 1 seed 0, vae beta 1 seed 2."
    )
    assert [best_is_last(one) for one in (last, {"best_epoch": 2, "epochs": 3}, {"epochs": 3}, {})] == [
        True,
        *[False] * 3,
    ]


def test_a_fold_whose_best_epoch_is_its_last_is_enough(make_run):
    runs = [
        make_run(
            0,
            setting_id=f"fold{fold}",
            config={"dataset": {"split": {"folds": 2, "fold": fold}}},
            training={"epochs": 9 + fold, "best_epoch": 9},
        )
        for fold in range(2)
    ]
    assert any("the best epoch is the last" in note for note in notes_of(rows_of(*runs)))


def test_of_many_runs_some_are_named(make_run):
    runs = [make_run(seed, training={"best_epoch": 3, "epochs": 3}) for seed in range(14)]
    assert notes_of(rows_of(*runs))[0].endswith("vae beta 1 seed 11 and 2 more.")


def test_rows_that_a_model_cannot_have_are_named_with_their_reason_once(make_run):
    why = {"grad_kl": "an autoencoder has no KL", "combination": "an autoencoder has no KL"}
    runs = [make_run(0, model="ae", left_out=why, setting_id=f"b{beta}", beta=beta) for beta in (1.0, 4.0)]
    assert notes_of(rows_of(*runs)) == ["tiny, ae: no row grad_kl, combination: an autoencoder has no KL"]


def test_rows_that_know_a_sign_are_named_with_who_told_them(make_run):
    predictors = {
        "plain": {"map": map_choice(1.0)},
        "known": {"map": map_choice(1.0, sign="positive", sign_by="dataset")},
        "fixed": {"map": map_choice(1.0, sign="negative", sign_by="config")},
        "learned": {"map": map_choice(1.0, sign="positive", sign_by="validation")},
        "both": 0.5,
        "blind": 0.5,
    }
    members = {"both": {"members": ["known", "plain"]}, "blind": {"members": ["plain", "fixed"]}}
    rows = rows_of(make_run(0, predictors, config={"predictors": {"members": members}}))
    found = {row.predictor: grounds_of(row) for row in rows}
    assert found == {
        "plain": [], "known": ["dataset"], "fixed": [], "learned": ["validation"], "both": ["dataset"], "blind": []
    }  # fmt: skip
    said = knowledge(rows)
    assert len(said) == 2
    assert "(dataset.polarity), for " in said[0]
    assert {"known", "both"} == set(said[0].split(" for ")[1].split(".")[0].split(", "))
    assert said[1].startswith("sign on tiny: the sign was chosen with the labels of validation images, for learned.")
