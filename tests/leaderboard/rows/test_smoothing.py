"""What each width of smoothing gives, and which one the runs chose."""

import pytest
from small_results import map_choice

from leaderboard.results.collect import Collection
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.smoothing import smoothings


def test_each_width_has_its_mean_over_seeds_and_how_often_it_was_chosen(make_run):
    chosen = (1.0, 2.0, 2.0)
    runs = [make_run(seed, {"a": {"map": map_choice(width)}, "e": 0.3}) for seed, width in enumerate(chosen)]
    found = smoothings(aggregate(Collection(runs)))
    assert [(one.predictor, one.metric) for one in found] == [
        ("a", name) for name in ("auroc", "ap", "dice_oracle", "aupro")
    ]
    assert (found[1].by, found[1].runs) == ("validation", 3)
    assert [(width.smooth, width.chosen) for width in found[1].widths] == [(0.0, 0), (1.0, 1), (2.0, 2)]
    assert [width.test.mean for width in found[1].widths] == pytest.approx([1.0 / 3, 1.3 / 3, 1.4 / 3])
    assert [width.validation.mean for width in found[1].widths] == pytest.approx([1.03 / 3, 1.33 / 3, 1.43 / 3])
    assert found[1].widths[0].test.n == 3


def test_runs_of_different_widths_share_no_means(make_run):
    short = map_choice(1.0)
    short["tried"] = short["tried"][:2]
    runs = [make_run(0, {"a": {"map": map_choice(1.0)}}), make_run(1, {"a": {"map": short}})]
    assert smoothings(aggregate(Collection(runs))) == []
    assert len(smoothings(aggregate(Collection(runs[1:])))) == 4


def test_a_width_that_a_row_was_not_measured_at_is_undefined(make_run):
    short = map_choice(0.0)
    short["tried"] = short["tried"][:1]
    found = smoothings(aggregate(Collection([make_run(0, {"a": {"map": map_choice(1.0)}, "b": {"map": short}})])))
    means = {one.predictor: [width.test.mean for width in one.widths] for one in found if one.metric == "ap"}
    assert means == {"a": pytest.approx([0.4, 0.5, 0.4]), "b": [0.5, None, None]}


def test_folds_that_chose_differently_are_all_counted(make_run):
    splits = [{"dataset": {"split": {"folds": 2, "fold": fold}}} for fold in range(2)]
    runs = [
        make_run(0, {"a": {"map": map_choice(2.0 * fold)}}, setting_id=f"fold{fold}", config=split)
        for fold, split in enumerate(splits)
    ]
    (row,) = aggregate(Collection(runs))
    assert [one.smooth for one in row.maps] == [0.0, 2.0]
    found = smoothings([row])[1]
    assert [width.chosen for width in found.widths] == [1, 0, 1]
    assert [width.test.mean for width in found.widths] == pytest.approx([0.4, 0.4, 0.4])
