"""The three ways to count, compiled, in NumPy and in torch: identical, bit for bit; and what happens without numba."""

import math
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from anomaly_bench.metrics import LocalizationCurve, SubjectCurves, find_regions, regions
from anomaly_bench.metrics import counting as kernel
from anomaly_bench.metrics import loops as accelerate
from anomaly_bench.metrics.loops import numpy_loops as plain
from anomaly_bench.metrics.subjects import counted as subjects

compiled = pytest.importorskip("anomaly_bench.metrics.loops.numba_loops")
ON_CPU, LATER, HOLD_WORTH = kernel.on_cpu, LocalizationCurve._later, kernel.HOLD_WORTH
floats = st.floats(width=32, allow_nan=False, allow_infinity=True, allow_subnormal=True)
tricky = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-40, 0.5, 0.50000006, math.inf, -math.inf, 3e38])


WAYS = ("compiled", "plain", "torch", "holding back")


def use(way: str) -> None:
    """Make one of WAYS count from now on; torch, as it does on a device."""
    accelerate.LOAD_AFTER = -1 if way in ("compiled", "holding back") else 1 << 62
    kernel.HOLD_WORTH = 0 if way == "holding back" else HOLD_WORTH
    kernel.on_cpu = (lambda *tensors: False) if way == "torch" else ON_CPU
    LocalizationCurve._later = property(lambda curve: True) if way == "torch" else LATER


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    before = accelerate.LOAD_AFTER
    yield
    use("plain")
    accelerate.LOAD_AFTER = before


def every_way(make, *maps):
    """Curves that `make` gives, counted in each of WAYS."""
    found = []
    for way in WAYS:
        use(way)
        curve = make()
        curve.update(*maps)
        found.append(curve)
    return found


def assert_equal(*curves: LocalizationCurve) -> None:
    for name in ("pivot", "normal", "anomalous", "region", "tie"):
        first, *others = (getattr(curve, name).nan_to_num() for curve in curves)  # no pivot is NaN
        for way, other in zip(WAYS[1:], others, strict=False):
            assert other.dtype == first.dtype
            assert torch.equal(first, other), (name, way)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(floats | tricky, st.booleans(), st.booleans()), min_size=4, max_size=48),
    st.sampled_from([4, 11, 16]),
    st.sampled_from([None, 0.0, 0.5, -3e4, 3e38]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_counts_are_identical(pixels: list, bits: int, pivot: float | None, weighted: bool, dtype: torch.dtype) -> None:
    pixels = pixels[: len(pixels) // 4 * 4]
    scores, mask, foreground = (torch.tensor(part).view(2, 2, -1) for part in zip(*pixels, strict=True))
    weight = torch.rand(mask.shape) if weighted else None
    scores = scores.to(dtype) / 3
    assert_equal(*every_way(lambda: LocalizationCurve(bits, pivot), scores, mask, foreground, weight))
    assert_equal(*every_way(lambda: LocalizationCurve(bits, pivot), scores, mask, None, weight))


@pytest.mark.parametrize("bits", [4, 20])  # few bins hold more pixels than a byte counts
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_identical_over_groups_threads_types_and_layouts(
    dtype: torch.dtype, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "GROUP", 1000)
    monkeypatch.setattr(kernel, "DEVICE_GROUP", 3000)
    monkeypatch.setattr(kernel, "THREAD_WORTH", 2000)
    torch.manual_seed(0)
    mask = torch.rand(17, 1, 30, 25) < 0.2
    scores = (torch.randn(17, 1, 25, 30).transpose(2, 3) + mask).to(dtype)
    foreground = torch.rand(mask.shape) < 0.7
    torch.set_num_threads(3)
    try:
        curves = every_way(lambda: LocalizationCurve(bits), scores, mask, foreground)
    finally:
        torch.set_num_threads(1)
    assert_equal(*curves)
    a = curves[0]
    assert int((a.normal + a.anomalous).sum()) == int(foreground.sum())
    use("compiled")
    one = LocalizationCurve(bits, float(a.pivot))
    for image in range(17):
        one.update(scores[image], mask[image], foreground[image])
    assert_equal(a, one)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(floats | tricky, st.booleans(), st.booleans()), min_size=8, max_size=64),
    st.sampled_from([1, 3, 12, 1 << 20]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_subjects_are_identical(pixels: list, limit: int, weighted: bool, dtype: torch.dtype) -> None:
    planes = [torch.tensor(part[: len(part) // 8 * 8]).view(8, 1, -1) for part in zip(*pixels, strict=True)]
    scores, mask, foreground = planes[0].to(dtype) / 3, *planes[1:]
    weight = torch.rand(mask.shape) if weighted else None
    assert_alike(scores, mask, foreground, weight, torch.tensor([5, 5, -1, 5, 7, 7, 2**40, -1]), limit)


def test_subjects_are_identical_where_bins_are_counted_without_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mask = torch.rand(12, 40, 40) < 0.1
    scores = (3 * torch.randn(mask.shape) + mask).sigmoid() - 0.1
    sorted_ones: list[int] = []
    plainly = subjects.bins_of
    monkeypatch.setattr(subjects, "bins_of", lambda *parts: sorted_ones.append(len(parts[0])) or plainly(*parts))
    weight, subject = torch.rand(mask.shape), torch.arange(12) // 4
    assert_alike(scores, mask, torch.rand(mask.shape) < 0.8, weight, subject, 400, each=2)
    # Six updates of one subject each: all are sorted in NumPy, compiled only the first, before bins are coarse.
    assert len(sorted_ones) == 6 + 1


def assert_alike(scores, mask, foreground, weight, subject, limit: int, each: int = 4) -> None:
    """The same bins, compiled and in NumPy, of batches of that many planes."""
    found = []
    for way in WAYS[:2]:
        use(way)
        curves = SubjectCurves(limit=limit)
        for at in range(0, len(scores), each):
            part = slice(at, at + each)
            own = None if weight is None else weight[part]
            curves.update(scores[part], mask[part], foreground[part], subject[part], 0.25, 550_000, own)
            curves.rows()
        found.append(curves)
    first, second = found
    assert first.subjects == second.subjects
    for name in first.subjects:
        np.testing.assert_array_equal(first._settled()[name], second._settled()[name])
        np.testing.assert_array_equal(first._totals[name], second._totals[name])


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
def test_regions_are_those_of_scipy(data: st.DataObject, planes: int, height: int, width: int) -> None:
    size = planes * height * width
    flat = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    mask = np.array(flat).reshape(planes, height, width)
    mine, scipys = regions.label_planes(mask, compiled), regions.label_planes(mask, plain)
    for a, b in zip(mine, scipys, strict=True):
        np.testing.assert_array_equal(a, b)
    count = sum(ndimage.label(plane, np.ones((3, 3)))[1] for plane in mask)
    assert len(mine.sizes) == count
    assert mine.weights().sum() == pytest.approx(count)


def test_a_spiral_is_one_region_and_a_chessboard_too() -> None:
    spiral = ndimage.zoom(
        np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1] * 5]), 7, order=0
    )
    board = np.indices((40, 40)).sum(0) % 2 == 0
    stripes = np.tile(np.arange(41) % 2 == 0, (40, 1))
    for picture, count in ((spiral > 0, 1), (board, 1), (stripes, 21)):
        assert len(regions.label_planes(picture[None], compiled).sizes) == count


@pytest.mark.slow
def test_small_work_does_not_load_numba_and_a_missing_one_is_no_error() -> None:
    code = """
import sys, torch
if sys.argv[1] == "missing":
    sys.modules["numba"] = None
from anomaly_bench.metrics import LocalizationCurve, loops
torch.manual_seed(0)
mask = torch.rand(4, 1, 64, 64) < 0.1
curve = LocalizationCurve()
curve.update(torch.randn(mask.shape) + mask, mask)
assert sys.modules.get("numba") is None
loops._seen = loops.LOAD_AFTER
curve.update(torch.randn(mask.shape) + mask, mask)
assert (sys.modules.get("numba") is not None) == (sys.argv[1] == "there")
print(curve.compute()["ap"])
"""
    said = [
        subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True)
        for how in ("there", "missing")
    ]
    assert said[0].stdout == said[1].stdout
    assert said[1].stderr == ""


def test_find_regions_checks_the_mask() -> None:
    for bad in (torch.zeros(4, dtype=torch.bool), torch.zeros(4, 4)):
        with pytest.raises(ValueError, match="bool mask"):
            find_regions(bad)
