"""Groups and bootstraps of subjects against the pixels of these subjects, copied as often as they are drawn."""

import io
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from anomaly_bench.metrics import CURVE_METRICS, LocalizationCurve, SubjectCurves, SubjectHistograms
from anomaly_bench.metrics.histogram import score_keys
from anomaly_bench.metrics.pooled import BIN, BOOTSTRAPPED, percentile_interval, resampling_weights

IDS = torch.tensor([7, -3, 7, 2**40, 0, -3, 7, 0])
NAMES = [-3, 0, 7, 2**40]
Maps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(params=["tied", "continuous"])
def maps(request: pytest.FixtureRequest) -> Maps:
    """Scores, mask and foreground of eight images; subject 0 has no anomalous pixel."""
    torch.manual_seed(1)
    foreground = torch.rand(8, 1, 30, 30) < 0.8
    mask = (torch.rand(8, 1, 30, 30) < 0.05) & (IDS != 0).view(-1, 1, 1, 1)
    scores = torch.randn(8, 1, 30, 30) + mask
    return (scores * 4).round() / 4 if request.param == "tied" else scores, mask, foreground


def threshold() -> int:
    return int(score_keys(torch.ones(1), 0.25, 20)[0])


def counted(maps: Maps) -> SubjectCurves:
    curves = SubjectCurves()
    curves.update(*maps, IDS, 0.25, threshold())
    return curves


def direct(maps: Maps, drawn: list[int], bits: int = 14) -> LocalizationCurve:
    """A curve over all pixels of the subjects that are drawn, as often as they are."""
    curve = LocalizationCurve(bits, 0.25)
    for name in drawn:
        curve.update(*(part[name == IDS] for part in maps))
    return curve


@pytest.mark.parametrize("drawn", [NAMES, [7], [7, 7, 2**40, -3, 7], [-3, 0]])
def test_a_group_equals_a_curve_over_its_pixels(maps: Maps, drawn: list[int]) -> None:
    got, curve = counted(maps).pooled(drawn), direct(maps, drawn)
    for name, expected in curve.compute().items():
        assert got[name] == pytest.approx(expected, abs=1e-12), name
    exact = direct(maps, drawn, 20).dice_at(threshold())
    assert got["dice"] == pytest.approx([exact] * 3)
    assert list(got) == [*CURVE_METRICS, "dice"]
    whole = direct(maps, drawn, 20).compute()
    for name in ("auroc", "ap", "dice_oracle", "aupro"):
        assert got[name].low - 1e-12 <= whole[name].value <= got[name].high + 1e-12


def test_a_group_without_a_class_is_undefined(maps: Maps) -> None:
    curves = counted(maps)
    assert set(curves.pooled([0]).values()) == {None}
    assert set(curves.pooled([]).values()) == {None}
    assert curves.pooled() == curves.pooled(NAMES)
    with pytest.raises(ValueError, match=r"got \[5\]"):
        curves.pooled([5, 7])


def test_resamples_equal_curves_over_the_drawn_pixels(maps: Maps) -> None:
    curves = counted(maps)
    weights = np.array([[1, 1, 1, 1], [0, 2, 0, 2], [0, 4, 0, 0], [3, 0, 1, 0]])
    values = curves.resampled(weights)
    assert list(values) == list(BOOTSTRAPPED)
    for row, times in enumerate(weights):
        drawn = [name for name, count in zip(NAMES, times, strict=True) for _ in range(count)]
        expected = direct(maps, drawn).compute() | {"dice": curves.pooled(drawn)["dice"]}
        for name in BOOTSTRAPPED:
            if expected[name] is None:
                assert np.isnan(values[name][row])
            else:
                # A bin whose scores tie within the drawn subjects alone is taken as mixed.
                assert values[name][row] == pytest.approx(expected[name].value, abs=1e-2), name
    with pytest.raises(ValueError, match=r"\(resamples, 4\)"):
        curves.resampled(weights[:, :3])


def test_intervals_are_percentiles_of_the_resamples(maps: Maps) -> None:
    curves = counted(maps)
    got = curves.bootstrap(200, seed=3, level=0.9)
    values = curves.resampled(resampling_weights(4, 200, 3))
    for name in BOOTSTRAPPED:
        assert got[name] == pytest.approx(np.nanquantile(values[name], [0.05, 0.95]))
    assert got == curves.bootstrap(200, seed=3, level=0.9)
    assert got != curves.bootstrap(200, seed=4, level=0.9)
    assert percentile_interval(np.array([np.nan])) is None
    one = SubjectCurves()
    one.update(*(part[:1] for part in maps), IDS[:1], 0.25, None)
    assert one.bootstrap() == dict.fromkeys(BOOTSTRAPPED)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    true = 0.76024994  # P(N(1, 1) > N(0, 1))
    torch.manual_seed(0)
    for _ in range(40):
        mask = torch.rand(60, 6, 6) < 0.3
        curves = SubjectCurves(bits=12)
        curves.update(torch.randn(60, 6, 6) + mask, mask, None, torch.arange(60), 0.0, None)
        low, high = curves.bootstrap(200)["auroc"]
        covered += low <= true <= high
    assert 34 <= covered <= 40


def test_weights_draw_every_subject_equally() -> None:
    weights = resampling_weights(50, 2000, 0)
    assert (weights.sum(1) == 50).all()
    assert weights.mean(0) == pytest.approx(1, abs=0.15)


def test_arrays_give_back_everything(maps: Maps) -> None:
    curves = counted(maps)
    file = io.BytesIO()
    np.savez_compressed(file, **curves.to_arrays())
    file.seek(0)
    back = SubjectHistograms.from_arrays(np.load(file, allow_pickle=False))
    assert back.rows() == curves.rows()
    assert back.pooled() == curves.pooled()
    assert back.bootstrap(50) == curves.bootstrap(50)
    back.merge(counted(maps))
    assert back.rows()[2]["images"] == 6
    empty = SubjectHistograms.from_arrays(SubjectHistograms().to_arrays())
    assert empty.rows() == []
    without = SubjectCurves()
    without.update(*maps, IDS, 0.25, None)
    assert SubjectHistograms.from_arrays(without.to_arrays()).rows() == without.rows()
    assert {row["dice"] for row in without.rows()} == {None}


def test_400_subjects_take_seconds() -> None:
    rng, histograms = np.random.default_rng(0), SubjectHistograms()
    block = np.zeros(400 * 1500, dtype=BIN)
    block["subject"] = np.repeat(np.arange(400), 1500)
    block["bin"] = np.tile(np.arange(7000, 8500), 400)
    block["tie"] = 0x7FFFFFFF
    block["normal"], block["anomalous"] = rng.integers(0, 50, len(block)), rng.integers(0, 3, len(block))
    block["region"] = block["anomalous"] / 30
    histograms._append(block)
    histograms._totals = {name: np.array([1, 10, 5, 3, 4]) for name in range(400)}
    start = time.process_time()
    intervals = histograms.bootstrap(1000)
    assert time.process_time() - start < 20
    assert all(low < high for low, high in (intervals[name] for name in BOOTSTRAPPED[:4]))


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys, anomaly_bench.metrics.pooled, anomaly_bench.metrics.operating;"
        "assert not {'torch', 'torchmetrics', 'numba'} & set(sys.modules);"
        "from anomaly_bench.metrics import LocalizationCurve;"
        "assert not {'pytorch_lightning', 'monai', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bins_too_coarse_for_the_scores_give_no_interval_rather_than_a_wrong_one():
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(8, 1, 32, 32, dtype=torch.bool)
    mask[:, :, 4:10, 4:10] = True
    scores = torch.randn(8, 1, 32, 32, generator=generator) + 2 * mask
    for offset, known in ((0.0, True), (1000.0, False)):
        subjects = SubjectCurves()
        subjects.update(scores + offset, mask, None, torch.arange(8), pivot=0.0, threshold_bin=None)
        assert (subjects.bootstrap(50)["auroc"] is not None) == known
