"""The formulas against scikit-learn, loops over thresholds, and every order that a bin's pixels can have."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orderings import weak_orderings
from scipy.special import digamma
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from anomaly_bench.metrics import formulas

ALL_TIED = np.ones(40, dtype=bool)
bins = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8)
wider_bins = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9)
shares = st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0])


def pixels(normal: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of the pixels that descending, wholly tied bins stand for."""
    level = -np.arange(len(normal), dtype=float)
    labels = np.concatenate([np.zeros(normal.sum()), np.ones(anomalous.sum())])
    return labels, np.concatenate([np.repeat(level, normal), np.repeat(level, anomalous)])


def loop_aupro(labels: np.ndarray, scores: np.ndarray, regions: np.ndarray, limit: float) -> float:
    """Bergmann et al. 2021 by a loop over thresholds and regions, cut at `limit` by interpolation."""
    points = [(0.0, 0.0)]
    for threshold in np.unique(scores)[::-1]:
        called = scores >= threshold
        overlaps = [called[regions == region].mean() for region in np.unique(regions[regions > 0])]
        points.append((called[labels == 0].mean(), float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 > x0 and x0 < limit:
            end = min(x1, limit)
            area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / limit


@settings(max_examples=150, deadline=None)
@given(bins)
def test_tied_bins_equal_scikit_learn(counts: list[tuple[int, int]]) -> None:
    normal, anomalous = np.array(counts).T
    labels, scores = pixels(normal, anomalous)
    tied = ALL_TIED[: len(normal)]
    area, ap, best = (
        f(normal, anomalous, tied) for f in (formulas.auroc, formulas.average_precision, formulas.dice_oracle)
    )
    if not anomalous.any():
        assert (area, ap, best) == (None, None, None)
        return
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
    assert ap == pytest.approx([average_precision_score(labels, scores)] * 3, abs=1e-12)
    assert best is not None
    assert best[0] == pytest.approx([f1] * 3, abs=1e-12)
    called = scores >= -best[1]
    assert 2 * labels[called].sum() / (called.sum() + labels.sum()) == pytest.approx(f1, abs=1e-12)
    if normal.any():
        assert area == pytest.approx([roc_auc_score(labels, scores)] * 3, abs=1e-12)
    else:
        assert area is None


@pytest.mark.parametrize("mixed", [(1, 1), (3, 1), (1, 3), (2, 3), (3, 3)])
@pytest.mark.parametrize("above", [(0, 0), (2, 1), (0, 3)])
@pytest.mark.parametrize("below", [(3, 2), (1, 0)])
def test_bounds_are_the_extremes_of_all_orderings(
    mixed: tuple[int, int], above: tuple[int, int], below: tuple[int, int]
) -> None:
    normal, anomalous = np.array([above, mixed, below]).T
    tied = np.array([True, False, True])
    functions = {
        "auroc": formulas.auroc,
        "ap": formulas.average_precision,
        "dice": lambda *args: formulas.dice_oracle(*args)[0],
        "aupro": lambda n, p, t: formulas.aupro(n, p.astype(float), t, limit=0.5),
    }
    for name, function in functions.items():
        got = function(normal, anomalous, tied)
        exact = []
        for groups in weak_orderings(*mixed):
            fine_normal, fine_anomalous = np.array([above, *groups, below]).T
            exact.append(function(fine_normal, fine_anomalous, ALL_TIED[: len(fine_normal)]).value)
        assert got.low == pytest.approx(min(exact), abs=1e-12) if name != "dice" else got.low <= min(exact) + 1e-12
        assert got.high == pytest.approx(max(exact), abs=1e-12)
        assert got.low <= got.value <= got.high


def test_value_mixes_evenly() -> None:
    normal, anomalous, mixed = np.array([4, 100]), np.array([7, 30]), np.array([True, False])
    ap, area = (f(normal, anomalous, mixed).value for f in (formulas.average_precision, formulas.auroc))
    hits = np.arange(1, 31)
    assert ap == pytest.approx((7 * 7 / 11 + ((7 + hits) / (7 + hits + 4 + 100 * hits / 31)).sum()) / 37, abs=1e-12)
    assert area == pytest.approx((7 * 102 + 30 * 50) / (37 * 104), abs=1e-12)


@pytest.mark.parametrize("before", [0, 29, 31, 33, 10**4, 10**9])
@pytest.mark.parametrize("positives", [1, 2, 50, 3000])
def test_average_precision_keeps_relative_precision(before: int, positives: int) -> None:
    normal, anomalous = np.array([before, 10]), np.array([0, positives])
    got = formulas.average_precision(normal, anomalous, np.array([True, False])).low
    hits = np.arange(1, positives + 1)
    assert got == pytest.approx((hits / (hits + before + 10)).mean(), rel=1e-6, abs=0)


def test_digamma_rise_meets_scipy_where_the_branches_meet() -> None:
    x, p = np.meshgrid([1.0, 5, 31.9, 32, 40, 300], [1.0, 2, 77, 1e6])
    np.testing.assert_allclose(formulas._digamma_rise(x, p), digamma(x + p) - digamma(x), rtol=1e-11)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from([0.05, 0.3, 0.37, 1.0]))
def test_aupro_equals_a_loop_over_regions(data: st.DataObject, limit: float) -> None:
    regions = np.array(data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=25).filter(lambda r: sum(r) > 0)))
    regions = np.append(regions, 0)
    scores = np.array(data.draw(st.lists(st.integers(0, 6), min_size=len(regions), max_size=len(regions))))
    sizes = np.bincount(regions)
    weight = np.where(regions > 0, 1 / sizes[regions], 0)
    normal = np.bincount(scores[regions == 0], minlength=7)[::-1]
    got = formulas.aupro(normal, np.bincount(scores, weights=weight, minlength=7)[::-1], ALL_TIED[:7], limit)
    assert got == pytest.approx([loop_aupro(regions > 0, scores, regions, limit)] * 3, abs=1e-12)


def test_undefined_is_none() -> None:
    none, some, tied = np.array([0, 0]), np.array([2, 1]), ALL_TIED[:2]
    assert formulas.auroc(none, some, tied) is None
    assert formulas.auroc(some, none, tied) is None
    assert formulas.average_precision(some, none, tied) is None
    assert formulas.average_precision(none, some, tied) == (1, 1, 1)
    assert formulas.dice_oracle(some, none, tied) is None
    assert formulas.aupro(none, some, tied) is None
    assert formulas.aupro(some, none, tied) is None
    with pytest.raises(ValueError, match="limit"):
        formulas.aupro(some, some, tied, limit=0)


def by_loop(normal: np.ndarray, anomalous: np.ndarray, share: float) -> tuple[float, float]:
    """FPR at recall >= share, recall at specificity >= share, over all thresholds (one of them above all pixels)."""
    fp, tp = np.append(0, normal.cumsum()), np.append(0, anomalous.cumsum())
    negatives, positives = normal.sum(), anomalous.sum()
    fpr = min(fp[k] / negatives for k in range(len(fp)) if tp[k] / positives >= share)
    recall = max(tp[k] / positives for k in range(len(fp)) if (negatives - fp[k]) / negatives >= share)
    return fpr, recall


@settings(max_examples=200, deadline=None)
@given(wider_bins, shares)
def test_tied_bins_equal_a_loop(counts: list[tuple[int, int]], share: float) -> None:
    normal, anomalous = np.array(counts).T
    tied = np.ones(len(normal), dtype=bool)
    got = formulas.fpr_at_tpr(normal, anomalous, tied, share), formulas.sensitivity_at(normal, anomalous, tied, share)
    if not (normal.any() and anomalous.any()):
        assert got == (None, None)
        return
    for found, expected in zip(got, by_loop(normal, anomalous, share), strict=True):
        assert found == pytest.approx([expected] * 3, abs=1e-12)


@pytest.mark.parametrize("mixed", [(1, 1), (3, 1), (1, 3), (2, 3), (3, 3)])
@pytest.mark.parametrize("above", [(0, 0), (2, 1), (0, 3)])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
def test_bounds_of_operating_points_are_the_extremes_of_all_orderings(
    mixed: tuple[int, int], above: tuple[int, int], share: float
) -> None:
    below = (3, 2)
    normal, anomalous = np.array([above, mixed, below]).T
    tied = np.array([True, False, True])
    every = [
        by_loop(*np.array([above, *groups, below]).T, share)  # one group of ties after the other
        for groups in weak_orderings(*mixed)
    ]
    functions = (formulas.fpr_at_tpr, formulas.sensitivity_at)
    for function, exact in zip(functions, zip(*every, strict=True), strict=True):
        got = function(normal, anomalous, tied, share)
        assert (got.low, got.high) == pytest.approx((min(exact), max(exact)), abs=1e-12)
        assert got.low <= got.value <= got.high


def test_values_mix_evenly() -> None:
    normal, anomalous, tied = np.array([10, 100]), np.array([10, 30]), np.array([True, False])
    at = formulas.fpr_at_tpr(normal, anomalous, tied, 0.5)
    assert at == pytest.approx(((10 + 100 * 10 / 31) / 110, 10 / 110, 1.0))
    at = formulas.sensitivity_at(normal, anomalous, tied, 0.5)
    assert at == pytest.approx(((10 + 30 * 46 / 101) / 40, 10 / 40, 1.0))


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_least_count_is_least(total: int, share: float) -> None:
    k = formulas.least_count(share, total)
    assert k / total >= share
    assert k == 0 or (k - 1) / total < share


def test_iou_is_that_of_the_best_dice() -> None:
    assert formulas.iou_of(None) is None
    assert formulas.iou_of(formulas.Certified(2 / 3, 0.0, 1.0)) == pytest.approx((0.5, 0.0, 1.0))


def test_shares_outside_the_unit_interval_are_refused() -> None:
    one, tied = np.array([1]), np.array([True])
    with pytest.raises(ValueError, match="true-positive rate"):
        formulas.fpr_at_tpr(one, one, tied, 0.0)
    with pytest.raises(ValueError, match="specificity"):
        formulas.sensitivity_at(one, one, tied, 1.1)


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_curves_of_tied_bins_are_scikit_learns(counts: list[tuple[int, int]]) -> None:
    normal, anomalous = (np.array(part) for part in zip(*counts, strict=True))
    if not (normal.sum() and anomalous.sum()):
        assert formulas.at_fpr(normal, anomalous, np.array([0.5])) is None
        return
    scores = np.repeat(np.arange(len(counts), 0, -1), normal + anomalous)
    labels = np.concatenate([[0] * n + [1] * p for n, p in counts])
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    places = np.linspace(0, 1, 8)
    assert formulas.at_fpr(normal, anomalous, places) == pytest.approx(np.interp(places, fpr, tpr))
    known_precision, known_recall, _ = precision_recall_curve(labels, scores)
    for recall in np.unique(known_recall)[1:]:  # those of a threshold
        expected = known_precision[np.isclose(known_recall, recall)].max()
        assert formulas.at_recall(normal, anomalous, np.array([recall]))[0] == pytest.approx(expected)


def test_there_is_no_precision_without_an_anomalous_pixel() -> None:
    assert formulas.at_recall(np.array([3]), np.array([0]), np.array([0.5])) is None
    assert formulas.at_fpr(np.array([0]), np.array([2]), np.array([0.5])) is None
