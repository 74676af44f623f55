"""What is chosen without labels, and what that loses: on results whose values are known."""

import numpy as np
import pytest

from leaderboard.board import build
from leaderboard.results.collect import Collection
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.selection import BY, RANDOM, criteria_of, regrets
from leaderboard.rows.views import chosen
from leaderboard.show.sheets.views import sheets

# by beta: the value on test, and what two criteria say
VALUES = {1.0: (0.9, 0.2, 5.0), 2.0: (0.7, 0.6, 1.0), 4.0: (0.6, 0.4, 3.0)}


def runs_of(make_run, validation=None, **more):
    found = []
    for beta, (test, pasted, elbo) in VALUES.items():
        criteria = {"synthetic_ap": pasted, "elbo": elbo}
        of_a = {"value": test, "criteria": criteria} | ({} if validation is None else {"validation": validation(test)})
        of_b = {"value": test / 2, "criteria": criteria | {"synthetic_ap": pasted / 2}}
        found += [make_run(seed, {"a": of_a, "b": of_b}, beta=beta, setting_id=f"s{beta}", **more) for seed in (0, 1)]
    return found


def test_without_labels_pasted_anomalies_choose_and_with_them_they_do_not(make_run):
    rows = aggregate(Collection(runs_of(make_run)))
    for one in chosen(rows, ["ap"]):
        assert (one.row.beta, one.oracle.beta, one.by) == (2.0, 1.0, "synthetic_ap")
    rows = aggregate(Collection(runs_of(make_run, validation=lambda test: test)))
    by_validation = {one.predictor: (one.row.beta, one.by) for one in chosen(rows, ["ap"])}
    assert by_validation == {"a": (1.0, "validation"), "b": (2.0, "synthetic_ap")}


@pytest.mark.parametrize(("by", "beta"), [("synthetic_ap", 2.0), ("elbo", 1.0), ("iwae", None), ("validation", 2.0)])
def test_the_board_chooses_by_what_it_is_told(make_run, by, beta):
    board = build(Collection(runs_of(make_run)), by=by)
    assert {row.beta for row in board.main} == ({beta} if beta else set(VALUES))
    assert {row.chosen_by for row in board.main} == ({"synthetic_ap" if by == "validation" else by} if beta else {""})


def test_regret_is_what_the_choice_loses_against_the_test_s_own(make_run):
    rows = aggregate(Collection(runs_of(make_run)))
    found = {one.by: (one.setting, one.predictor) for one in regrets(rows, ["ap"])}
    assert found["synthetic_ap"] == (pytest.approx((0.2 + 0.1) / 2), pytest.approx(0.9 - 0.7))
    assert found["elbo"] == (pytest.approx(0), None), "it is the same for all predictors of a model"
    spread = 0.9 - np.mean([0.9, 0.7, 0.6])
    everything = 0.9 - np.mean([0.9, 0.7, 0.6, 0.45, 0.35, 0.3])
    assert found[RANDOM] == (pytest.approx(0.75 * spread), pytest.approx(everything))
    assert "validation" not in found
    lower = {one.by: one.setting for one in regrets(rows, ["fpr95"])}
    assert lower["synthetic_ap"] == pytest.approx((0.1 + 0.05) / 2), "where lower is better"


def test_stability_is_the_mean_correlation_of_fingerprints_over_pairs_of_seeds(make_run):
    random = np.random.default_rng(0)
    prints = random.integers(0, 256, (3, 2, 40))
    runs = [
        make_run(seed, {name: {"fingerprint": prints[seed, at].tolist()} for at, name in enumerate("ab")})
        for seed in range(3)
    ]
    arrays = aggregate(Collection(runs))[0].samples.runs
    found = criteria_of(("b", "a", "c"), arrays)
    for at, row in ((1, found[0]), (0, found[1])):
        pairs = np.corrcoef(prints[:, at])[np.triu_indices(3, 1)]
        assert row == {"stability": pytest.approx(pairs.mean())}
    assert found[2] == {}
    assert criteria_of(("a",), arrays[:1]) == [{}], "one seed has no other"


def test_the_view_has_the_criterion_that_loses_least_first_and_is_empty_where_nothing_is_to_be_chosen(make_run):
    board = build(Collection(runs_of(make_run)))
    setting, together, *_ = sheets(board, ["selection"])
    assert [row[0] for row in setting.rows] == ["ELBO", "at random", "AP of pasted anomalies"]
    assert [row[0] for row in together.rows] == ["AP of pasted anomalies", "at random"]
    assert setting.rows[2][1:] == ("0.150", "0.150")
    assert not sheets(build(Collection([make_run(0, {"a": 0.5})])), ["selection"])


def test_every_way_of_choosing_has_a_name_that_people_read():
    from leaderboard.show.sheets.sheet import WAYS

    assert set(WAYS) == {*BY, RANDOM}
