"""LocalizationCurve from maps to numbers, against scikit-learn and a loop over regions."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from anomaly_bench.metrics import CURVE_METRICS, Calibration, ExactCurve, LocalizationCurve

pytestmark = pytest.mark.filterwarnings("ignore:.* is known to:UserWarning")

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)
tricky = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-40, 0.5, 0.50000006, 0.5001, 0.6, 3e38])


def reference(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    ap = average_precision_score(labels, scores)
    return {"auroc": roc_auc_score(labels, scores), "ap": ap, "dice_oracle": f1.max()}


def count(curve: LocalizationCurve, scores: torch.Tensor, mask: torch.Tensor) -> LocalizationCurve:
    """Update with pixels (N,) as one row of an image, each anomalous pixel its own region."""
    row = mask[None, None, None]
    curve.update(scores[None, None, None], row, torch.ones_like(row), row.float())
    return curve


def images(count: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    """Smooth random images with blobs: scores, mask, foreground, region weights, and the regions' names."""
    rng = np.random.default_rng(seed)
    mask = rng.random((count, 1, 24, 24)) < 0.04
    mask[:, :, 3:7, 4:9] = True
    regions = np.zeros(mask.shape, dtype=int)
    for index, picture in enumerate(mask[:, 0]):
        named, _ = label(picture, np.ones((3, 3)))
        regions[index, 0] = np.where(named > 0, named + regions.max(), 0)
    weight = np.where(mask, 1 / np.bincount(regions.ravel())[regions], 0)
    scores = rng.normal(size=mask.shape) + 1.5 * mask
    maps = (scores.astype(np.float32), mask, np.ones_like(mask), weight.astype(np.float32))
    return *(torch.from_numpy(array) for array in maps), regions


def loop_aupro(scores: np.ndarray, regions: np.ndarray, limit: float) -> float:
    """Mean overlap per region against false-positive rate at every distinct score, integrated up to `limit`."""
    thresholds = np.unique(scores)[::-1]
    normal = np.sort(scores[regions == 0])
    fpr = 1 - np.searchsorted(normal, thresholds) / len(normal)
    inside = [np.sort(scores[regions == name]) for name in range(1, regions.max() + 1)]
    overlap = np.mean([1 - np.searchsorted(own, thresholds) / len(own) for own in inside], axis=0)
    fpr, overlap = np.append(0, fpr), np.append(0, overlap)
    below = fpr < limit
    at_limit = np.interp(limit, fpr, overlap)
    return float(np.trapezoid(np.append(overlap[below], at_limit), np.append(fpr[below], limit))) / limit


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(floats | tricky, st.booleans()), min_size=2, max_size=30), st.sampled_from([6, 11, 16]))
def test_scikit_learn_lies_inside_the_bounds(pixels: list[tuple[float, bool]], bits: int) -> None:
    scores, labels = np.array([p[0] for p in pixels], np.float32), np.array([p[1] for p in pixels])
    scores, labels = np.append(scores, scores[:2]), np.append(labels, [True, False])
    got = count(LocalizationCurve(bits=bits, pivot=0.0), torch.from_numpy(scores), torch.from_numpy(labels)).compute()
    for name, exact in reference(scores, labels).items():
        assert got[name].low - 1e-12 <= exact <= got[name].high + 1e-12, name


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=1, max_size=40), st.sampled_from([0.0, 0.5, None])
)
def test_separate_bins_are_exact(pixels: list[tuple[int, bool]], pivot: float | None) -> None:
    values = np.array([p[0] for p in pixels] + [0, 0], np.float32)
    labels = np.array([p[1] for p in pixels] + [True, False])
    got = count(LocalizationCurve(bits=16, pivot=pivot), torch.from_numpy(values), torch.from_numpy(labels)).compute()
    for name, exact in reference(values, labels).items():
        assert got[name] == pytest.approx([exact] * 3, abs=1e-12), name


def test_infinite_scores_rank_first_and_last() -> None:
    scores = torch.tensor([math.inf, 2.0, math.inf, -math.inf, 1.0, -math.inf, 0.0])
    mask = torch.tensor([True, True, False, True, False, False, True])
    got = count(LocalizationCurve(), scores, mask).compute()
    finite = scores.nan_to_num(posinf=9, neginf=-9).numpy()
    for name, exact in reference(finite, mask.numpy()).items():
        assert got[name] == pytest.approx([exact] * 3, abs=1e-12), name


def test_aupro_counts_regions_of_real_masks() -> None:
    scores, mask, foreground, weight, regions = images()
    coarse = (scores * 4).round()
    curve = LocalizationCurve(pivot=0.0)
    curve.update(coarse, mask, foreground, weight)
    for limit in (0.05, 0.3):
        assert curve.aupro(limit) == pytest.approx([loop_aupro(coarse.numpy(), regions, limit)] * 3, abs=1e-7)
    assert curve.compute()["aupro"] == curve.aupro(0.3)
    crowded = LocalizationCurve(bits=9, pivot=0.0)
    crowded.update(scores, mask, foreground, weight)
    bounds = crowded.aupro(0.3)
    assert bounds.low < loop_aupro(scores.numpy(), regions, 0.3) < bounds.high


def test_only_the_foreground_counts() -> None:
    scores, mask, foreground, weight, _ = images()
    foreground[:, :, :, 12:] = False
    background_nan = scores.masked_fill(~foreground, math.nan)
    whole, left = LocalizationCurve(pivot=0.0), LocalizationCurve(pivot=0.0)
    whole.update(background_nan, mask, foreground, weight)
    left.update(*(part[..., :12] for part in (scores, mask, foreground, weight)))
    assert whole.compute() == left.compute()
    assert int((whole.normal + whole.anomalous).sum()) == int(foreground.sum())


def test_the_pivot_keeps_crowded_scores_apart() -> None:
    torch.manual_seed(0)
    mask = torch.rand(20_000) < 0.1
    scores = 0.5 + 0.01 * (torch.rand(20_000) + 0.3 * mask)
    exact = reference(scores.numpy(), mask.numpy())
    crowded = count(LocalizationCurve(bits=14, pivot=0.0), scores, mask).compute()
    apart = count(LocalizationCurve(bits=14), scores, mask).compute()
    for name, value in exact.items():
        width = apart[name].high - apart[name].low
        assert apart[name].low - 1e-6 <= value <= apart[name].high + 1e-6
        assert width < (crowded[name].high - crowded[name].low) / 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_maps_are_exact(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mask = torch.rand(20_000) < 0.1
    scores = (5 + torch.randn(20_000) + mask).to(dtype)
    got = count(LocalizationCurve(), scores, mask).compute()
    for name, exact in reference(scores.double().numpy(), mask.numpy()).items():
        assert got[name] == pytest.approx([exact] * 3, abs=1e-12), name


def test_a_million_pixels_have_narrow_bounds() -> None:
    torch.manual_seed(0)
    mask = torch.rand(1_000_000) < 0.02
    scores = torch.randn(1_000_000) + 1.5 * mask
    got = count(LocalizationCurve(), scores.double(), mask).compute()
    exact = reference((scores - scores.median()).numpy(), mask.numpy())
    fpr, tpr, _ = roc_curve(mask, scores, drop_intermediate=False)
    below = fpr < 0.3
    at_limit = np.interp(0.3, fpr, tpr)
    exact["aupro"] = np.trapezoid(np.append(tpr[below], at_limit), np.append(fpr[below], 0.3)) / 0.3
    for name, half_width in {"auroc": 1e-4, "aupro": 1e-4, "ap": 5e-4, "dice_oracle": 5e-4}.items():
        assert (got[name].high - got[name].low) / 2 < half_width, name
        assert got[name].value == pytest.approx(exact[name], abs=half_width / 10), name
        assert got[name].low <= exact[name] <= got[name].high, name


def test_one_class_missing() -> None:
    scores = torch.arange(5.0)
    normal = count(LocalizationCurve(), scores, torch.zeros(5, dtype=torch.bool)).compute()
    assert normal == dict.fromkeys(CURVE_METRICS)
    anomalous = count(LocalizationCurve(), scores, torch.ones(5, dtype=torch.bool)).compute()
    whole = dict.fromkeys(["ap", "dice_oracle", "iou_oracle"], (1, 1, 1))
    assert anomalous == dict.fromkeys(CURVE_METRICS) | whole


def test_nan_shape_and_argument_errors() -> None:
    *maps, _ = images()
    curve = LocalizationCurve()
    with pytest.raises(ValueError, match="call update first"):
        curve.keys(maps[0])
    with pytest.raises(ValueError, match="NaN"):
        curve.update(maps[0].index_fill(3, torch.tensor([0]), math.nan), *maps[1:])
    assert int((curve.normal + curve.anomalous).sum()) == 0
    with pytest.raises(ValueError, match="mask of shape"):
        curve.update(maps[0], maps[1][:1], *maps[2:])
    with pytest.raises(ValueError, match="finite"):
        LocalizationCurve(pivot=math.inf)
    with pytest.raises(ValueError, match="bits"):
        LocalizationCurve(bits=30)


def test_threshold_dice_and_calibration_follow_the_pixels() -> None:
    scores, mask, foreground, weight, _ = images()
    curve = LocalizationCurve()
    curve.update(scores, mask, foreground, weight)
    threshold = curve.threshold_at_fpr(0.1)
    called = curve.keys(scores) >= threshold
    rate = called[~mask].float().mean()
    assert 0.1 - 2 / int((~mask).sum()) <= rate <= 0.1
    assert curve.dice_at(threshold) == 2 * int((called & mask).sum()) / int(called.sum() + mask.sum())
    assert torch.equal(called, scores >= curve.score_of(threshold))
    normal = scores[~mask]
    lower = (normal[:, None, None, None, None] < scores).float().mean(0)
    torch.testing.assert_close(Calibration.of(curve)(scores), lower, atol=3 / len(normal), rtol=0)


def test_a_tie_is_of_the_scores_as_they_came() -> None:
    scores = torch.ones(1, 10, 10)
    scores[0, 0], scores[0, 1] = 1e-9, 2e-9  # one number after the pivot, 1, is subtracted
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    mask[0, 1] = True
    exact, curve, flat = ExactCurve(), LocalizationCurve(), LocalizationCurve()
    for one in (exact, curve):
        one.update(scores, mask)
    assert curve.pivot == 1
    for name, certified in exact.compute().items():
        assert curve.compute()[name].low <= certified.value <= curve.compute()[name].high, name
    assert curve.compute()["auroc"].low < curve.compute()["auroc"].high
    flat.update(scores.clamp(min=2e-9), mask)
    assert flat.compute()["auroc"].low == flat.compute()["auroc"].high


@pytest.mark.parametrize(
    ("scores", "apart"),
    [
        (torch.tensor([0.5, 0.5 + 1e-12], dtype=torch.float64), True),
        (torch.tensor([0.1, 0.1], dtype=torch.float64), False),
        (torch.tensor([2**24, 2**24 + 1]), True),
        (torch.tensor([2**24 + 1, 2**24 + 1]), False),
        (torch.tensor([7, 8], dtype=torch.uint8), True),
    ],
)
def test_what_float32_makes_one_is_not_certified_as_a_tie(scores: torch.Tensor, apart: bool) -> None:
    mask, expected = torch.tensor([[False, True]]), 1.0 if apart else 0.5
    exact, curve = ExactCurve(), LocalizationCurve()
    exact.update(scores[None], mask)
    curve.update(scores[None], mask)
    assert exact.compute()["auroc"] == (expected,) * 3
    got = curve.compute()["auroc"]
    assert got.low <= expected <= got.high
    merged = apart and scores.float()[0] == scores.float()[1]
    assert (got.low < got.high) == bool(merged)


def test_integers_that_no_float_holds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"below 2\*\*53 in size, got 9007199254740992"):
        LocalizationCurve().update(torch.tensor([[0, -(2**53)]]), torch.zeros(1, 2, dtype=torch.bool))


def test_arrays_of_any_layout() -> None:
    rng = np.random.default_rng(0)
    scores, mask = rng.random((3, 8, 8)).astype(np.float32), rng.random((3, 8, 8)) < 0.3
    straight, turned = LocalizationCurve(), LocalizationCurve()
    straight.update(scores, mask)
    turned.update(scores.astype(">f4")[::-1, :, ::-1], mask[::-1, :, ::-1])
    assert turned.compute() == straight.compute()


def test_the_best_threshold_calls_the_pixels_of_its_bin() -> None:
    scores = torch.tensor([[-1e-9, -0.5, -0.6, -0.7]])
    mask = torch.tensor([[True, False, False, False]])
    curve = LocalizationCurve(pivot=-1.0)
    curve.update(scores, mask)
    assert torch.equal(scores >= curve.dice_oracle_threshold(), mask)


def test_wide_bounds_warn_once_and_say_what_to_do() -> None:
    torch.manual_seed(0)
    mask = torch.rand(40, 40) < 0.3
    curve = LocalizationCurve(pivot=0.0)
    curve.update(1000 + 1e-2 * (torch.rand(40, 40) + mask), mask)
    with pytest.warns(UserWarning, match=r"auroc is known to ±0\.\d+ only.*bits=24.*ExactCurve\(\)"):
        curve.compute()
    curve.update(torch.rand(40, 40), mask)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve.compute()


def test_a_region_that_the_foreground_cuts_counts_by_its_share_inside() -> None:
    mask = torch.zeros(1, 4, 8, dtype=torch.bool)
    mask[0, 0, :4] = mask[0, 2, :4] = True
    scores, foreground = torch.zeros(1, 4, 8), torch.ones(1, 4, 8, dtype=torch.bool)
    scores[0, 0, :4], foreground[0, 0, 1:4] = 1.0, False  # found, but 3 of its 4 pixels do not count
    curve = LocalizationCurve()
    curve.update(scores, mask, foreground)
    # At no false positive the overlap is 1/4 of 5/4 regions; it then rises to 1 at a false-positive rate of 1.
    assert curve.aupro(1.0) == pytest.approx([0.2 + 0.8 / 2] * 3)


def test_a_frequent_score_is_alone_in_its_bin() -> None:
    """Clamped maps: around the median, the zeros would share a bin with the scores just above them."""
    torch.manual_seed(0)
    mask = torch.rand(4, 128, 128) < 0.03
    scores = (torch.randn(mask.shape) + mask + 0.3).clamp(min=0)
    for pivot, narrow in ((None, True), (float(scores.median()), False)):
        curve = LocalizationCurve(20, pivot)
        curve.update(scores, mask)
        found = curve.compute()["fpr95"]
        assert found is not None
        assert (found.high - found.low < 1e-9) == narrow
