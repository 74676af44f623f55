"""ExactCurve against scikit-learn, loops and the histograms, with zero width."""

import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from anomaly_bench.metrics import CURVE_METRICS, Calibration, ExactCurve, LocalizationCurve

floats = st.floats(width=32, allow_nan=False, allow_infinity=True, allow_subnormal=True)
tricky = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-40, 0.5, 0.50000006, math.inf, -math.inf])


def exact_of(scores: torch.Tensor, mask: torch.Tensor) -> ExactCurve:
    curve = ExactCurve()
    row = mask[None, None]
    curve.update(scores[None, None], row, torch.ones_like(row), row.float())
    return curve


def loop(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Each metric by trying every threshold; every anomalous pixel is its own region, so AUPRO is a partial AUROC."""
    ranks = np.unique(scores, return_inverse=True)[1]
    tp, fp = (np.array([(ranks[labels == kind] >= t).sum() for t in range(ranks.max() + 2)]) for kind in (1, 0))
    positives, negatives = labels.sum(), (~labels).sum()
    tpr, fpr = tp / positives, fp / negatives
    precision, recall, _ = precision_recall_curve(labels, ranks)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
    found = {"auroc": roc_auc_score(labels, ranks), "ap": average_precision_score(labels, ranks)}
    found |= {"dice_oracle": f1, "iou_oracle": (tp / (fp + positives)).max(), "fpr95": fpr[tpr >= 0.95].min()}
    for percent in (90, 95, 99):
        found[f"sensitivity_{percent}"] = tpr[(negatives - fp) / negatives >= percent / 100].max()
    x, y = fpr[::-1], tpr[::-1]
    for name, limit in (("aupro", 0.3), ("aupro_05", 0.05)):
        inside = [(x0, y0, x1, y1) for (x0, y0), (x1, y1) in pairwise(zip(x, y, strict=True)) if x0 < x1 and x0 < limit]
        areas = [
            (min(x1, limit) - x0) * (y0 + (y1 - y0) * (min(x1, limit) - x0) / (x1 - x0) / 2)
            for x0, y0, x1, y1 in inside
        ]
        found[name] = sum(areas) / limit
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(floats | tricky, st.booleans()), min_size=1, max_size=40))
def test_every_metric_equals_a_loop_over_thresholds(pixels: list[tuple[float, bool]]) -> None:
    scores = np.array([p[0] for p in pixels] + [0.5, -0.0], np.float32)
    labels = np.array([p[1] for p in pixels] + [True, False])
    got = exact_of(torch.from_numpy(scores), torch.from_numpy(labels)).compute()
    assert list(got) == list(CURVE_METRICS)
    for name, value in loop(scores, labels).items():
        assert got[name] == pytest.approx([value] * 3, abs=1e-12), name


@pytest.mark.parametrize("kind", ["normal", "constant", "float16", "bfloat16", "float64"])
def test_the_histograms_hold_the_exact_values(kind: str) -> None:
    torch.manual_seed(0)
    mask = torch.rand(8, 1, 50, 50) < 0.05
    scores = torch.randn(mask.shape) + 2 * mask
    scores = torch.full_like(scores, 0.3) if kind == "constant" else scores
    scores = scores.to(getattr(torch, kind)) if "float" in kind else scores
    foreground = torch.rand(mask.shape) < 0.9
    exact, binned = ExactCurve(), LocalizationCurve(bits=14, pivot=0.0)
    for curve in (exact, binned):
        curve.update(scores, mask, foreground)
    wide = binned.compute()
    for name, value in exact.compute().items():
        assert value.low == value.value == value.high, name
        assert wide[name].low - 1e-9 <= value.value <= wide[name].high + 1e-9, name
    limit = exact.aupro(0.1)
    assert binned.aupro(0.1).low - 1e-9 <= limit.value <= binned.aupro(0.1).high + 1e-9


def test_thresholds_and_calibration_follow_the_pixels() -> None:
    torch.manual_seed(0)
    mask = torch.rand(3000) < 0.1
    scores = ((torch.randn(3000) + mask) * 20).round() / 20
    curve = exact_of(scores, mask)
    normal = scores[~mask]
    for fpr in (0.0, 0.01, 0.1, 0.5, 1.0):
        threshold = curve.threshold_at_fpr(fpr)
        called = curve.keys(scores) >= threshold
        assert called[~mask].float().mean() <= fpr
        assert threshold == 0 or (curve.keys(normal) >= threshold - 1).float().mean() > fpr
        hits, false, missed = ((called & mask).sum(), (called & ~mask).sum(), (~called & mask).sum())
        assert curve.dice_at(threshold) == pytest.approx(float(2 * hits / (2 * hits + false + missed)))
        assert curve.iou_at(threshold) == pytest.approx(float(hits / (hits + false + missed)))
    best = curve.dice_oracle_threshold()
    called = scores >= best
    dice = float(2 * (called & mask).sum() / (called.sum() + mask.sum()))
    assert curve.compute()["dice_oracle"].value == pytest.approx(dice)
    binned = LocalizationCurve(pivot=0.0)
    binned.update(scores[None], mask[None])
    assert torch.equal(scores >= binned.dice_oracle_threshold(), called)
    lower = ((normal < scores[:, None]).float() + (normal == scores[:, None]).float() / 2).mean(1)
    torch.testing.assert_close(Calibration.of(curve)(scores), lower, atol=1e-6, rtol=0)


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_any_partition_merge_pickle_and_reset() -> None:
    torch.manual_seed(0)
    mask = torch.rand(6, 1, 24, 24) < 0.07
    scores = torch.randn(mask.shape) + mask
    whole, parts = ExactCurve(), [ExactCurve() for _ in range(3)]
    whole.update(scores, mask)
    for index in (5, 2, 0, 4, 1, 3):
        parts[index % 3].update(scores[index], mask[index])
    expected = whole.compute()
    merged = parts[0]
    merged.compute()
    for other in parts[1:]:
        merged.merge_state(other)
    assert merged.compute() == expected
    assert isinstance(merged, ExactCurve)
    assert pickle.loads(pickle.dumps(merged)).compute() == expected
    assert merged(scores, mask) == expected
    merged.reset()
    assert set(merged.compute().values()) == {None}
    merged.update(scores, mask)
    assert merged.compute() == expected
    with pytest.raises(ValueError, match="32 bits"):
        merged.merge_state(LocalizationCurve())


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_nothing_counted_and_one_class_missing() -> None:
    curve = ExactCurve()
    assert set(curve.compute().values()) == {None}
    assert curve.dice_oracle_threshold() is None
    with pytest.raises(ValueError, match="normal foreground pixel"):
        curve.threshold_at_fpr(0.1)
    only = exact_of(torch.arange(4.0), torch.ones(4, dtype=torch.bool)).compute()
    whole = dict.fromkeys(["ap", "dice_oracle", "iou_oracle"], (1, 1, 1))
    assert only == dict.fromkeys(CURVE_METRICS) | whole
