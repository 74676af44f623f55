"""Operating points against a loop over thresholds, and their bounds against every order of a bin's pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orderings import weak_orderings

from anomaly_bench.metrics import formulas as curves
from anomaly_bench.metrics import formulas as operating

bins = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9)
shares = st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0])


def by_loop(normal: np.ndarray, anomalous: np.ndarray, share: float) -> tuple[float, float]:
    """FPR at recall >= share, recall at specificity >= share, over all thresholds (one of them above all pixels)."""
    fp, tp = np.append(0, normal.cumsum()), np.append(0, anomalous.cumsum())
    negatives, positives = normal.sum(), anomalous.sum()
    fpr = min(fp[k] / negatives for k in range(len(fp)) if tp[k] / positives >= share)
    recall = max(tp[k] / positives for k in range(len(fp)) if (negatives - fp[k]) / negatives >= share)
    return fpr, recall


@settings(max_examples=200, deadline=None)
@given(bins, shares)
def test_tied_bins_equal_a_loop(counts: list[tuple[int, int]], share: float) -> None:
    normal, anomalous = np.array(counts).T
    tied = np.ones(len(normal), dtype=bool)
    got = operating.fpr_at_tpr(normal, anomalous, tied, share), operating.sensitivity_at(normal, anomalous, tied, share)
    if not (normal.any() and anomalous.any()):
        assert got == (None, None)
        return
    for found, expected in zip(got, by_loop(normal, anomalous, share), strict=True):
        assert found == pytest.approx([expected] * 3, abs=1e-12)


@pytest.mark.parametrize("mixed", [(1, 1), (3, 1), (1, 3), (2, 3), (3, 3)])
@pytest.mark.parametrize("above", [(0, 0), (2, 1), (0, 3)])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
def test_bounds_are_the_extremes_of_all_orderings(mixed: tuple[int, int], above: tuple[int, int], share: float) -> None:
    below = (3, 2)
    normal, anomalous = np.array([above, mixed, below]).T
    tied = np.array([True, False, True])
    every = [
        by_loop(*np.array([above, *groups, below]).T, share)  # one group of ties after the other
        for groups in weak_orderings(*mixed)
    ]
    functions = (operating.fpr_at_tpr, operating.sensitivity_at)
    for function, exact in zip(functions, zip(*every, strict=True), strict=True):
        got = function(normal, anomalous, tied, share)
        assert (got.low, got.high) == pytest.approx((min(exact), max(exact)), abs=1e-12)
        assert got.low <= got.value <= got.high


def test_values_mix_evenly() -> None:
    normal, anomalous, tied = np.array([10, 100]), np.array([10, 30]), np.array([True, False])
    at = operating.fpr_at_tpr(normal, anomalous, tied, 0.5)
    assert at == pytest.approx(((10 + 100 * 10 / 31) / 110, 10 / 110, 1.0))
    at = operating.sensitivity_at(normal, anomalous, tied, 0.5)
    assert at == pytest.approx(((10 + 30 * 46 / 101) / 40, 10 / 40, 1.0))


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_least_count_is_least(total: int, share: float) -> None:
    k = operating.least_count(share, total)
    assert k / total >= share
    assert k == 0 or (k - 1) / total < share


def test_iou_is_that_of_the_best_dice() -> None:
    assert curves.iou_of(None) is None
    assert curves.iou_of(curves.Certified(2 / 3, 0.0, 1.0)) == pytest.approx((0.5, 0.0, 1.0))


def test_shares_outside_the_unit_interval_are_refused() -> None:
    one, tied = np.array([1]), np.array([True])
    with pytest.raises(ValueError, match="true-positive rate"):
        operating.fpr_at_tpr(one, one, tied, 0.0)
    with pytest.raises(ValueError, match="specificity"):
        operating.sensitivity_at(one, one, tied, 1.1)
