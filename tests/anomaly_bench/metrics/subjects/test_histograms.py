"""Groups and bootstraps of subjects against the pixels of these subjects, copied as often as they are drawn."""

import pickle
import time
import tracemalloc

import numpy as np
import pytest
import torch

from anomaly_bench.metrics import CURVE_METRICS, ExactCurve, LocalizationCurve, SubjectCurves, SubjectHistograms
from anomaly_bench.metrics.bins import BIN, score_keys
from anomaly_bench.metrics.subjects.bootstrap import percentile_interval, resampling_weights
from anomaly_bench.metrics.subjects.histograms import BOOTSTRAPPED
from anomaly_bench.metrics.subjects.sparse_bins import bins_of, ends

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
    return int(score_keys(torch.ones(1), 0.25, 20))


def counted(maps: Maps) -> SubjectCurves:
    curves = SubjectCurves()
    curves.update(*maps, IDS, 0.25, threshold())
    return curves


def direct(maps: Maps, drawn: list[int], exact: bool = True) -> LocalizationCurve:
    """A curve over all pixels of the subjects that are drawn, as often as they are."""
    curve = ExactCurve() if exact else LocalizationCurve(pivot=0.25)
    for name in drawn:
        curve.update(*(part[name == IDS] for part in maps))
    return curve


@pytest.mark.parametrize("drawn", [NAMES, [7], [7, 7, 2**40, -3, 7], [-3, 0]])
def test_a_group_equals_a_curve_over_its_pixels(maps: Maps, drawn: list[int]) -> None:
    got, curve = counted(maps).pooled(drawn), direct(maps, drawn)
    for name, expected in curve.compute().items():
        assert got[name] == pytest.approx(expected, abs=1e-12), name
    exact = direct(maps, drawn, exact=False).dice_at(threshold())
    assert got["dice"] == pytest.approx([exact] * 3)
    assert list(got) == [*CURVE_METRICS, "dice"]


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
    values, _ = curves._resampled(weights, curves._in_shared_bins())
    assert list(values) == list(BOOTSTRAPPED)
    for row, times in enumerate(weights):
        drawn = [name for name, count in zip(NAMES, times, strict=True) for _ in range(count)]
        expected = direct(maps, drawn).compute() | {"dice": curves.pooled(drawn)["dice"]}
        for name in BOOTSTRAPPED:
            if expected[name] is None:
                assert np.isnan(values[name][row])
            else:
                tolerance = 1e-12 if len(maps[0].unique()) < 100 else 1e-3
                assert values[name][row] == pytest.approx(expected[name].value, abs=tolerance), name
    with pytest.raises(ValueError, match=r"\(resamples, 4\)"):
        curves._resampled(weights[:, :3], curves._in_shared_bins())


def test_intervals_are_percentiles_of_the_resamples(maps: Maps) -> None:
    curves = counted(maps)
    got = curves.bootstrap(200, seed=3, level=0.9)
    values, _ = curves._resampled(resampling_weights(4, 200, 3), curves._in_shared_bins())
    for name in BOOTSTRAPPED:
        assert got[name] == pytest.approx(np.nanquantile(values[name], [0.05, 0.95]))
    assert got == curves.bootstrap(200, seed=3, level=0.9)
    assert got != curves.bootstrap(200, seed=4, level=0.9)
    assert percentile_interval(np.array([np.nan])) is None
    one = SubjectCurves()
    one.update(*(part[:1] for part in maps), IDS[:1], 0.25, None)
    assert one.bootstrap() == dict.fromkeys(BOOTSTRAPPED)


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    true = 0.76024994  # P(N(1, 1) > N(0, 1))
    torch.manual_seed(0)
    for _ in range(40):
        mask = torch.rand(60, 6, 6) < 0.3
        curves = SubjectCurves()
        curves.update(torch.randn(60, 6, 6) + mask, mask, None, torch.arange(60), 0.0, None)
        low, high = curves.bootstrap(200)["auroc"]
        covered += low <= true <= high
    assert 34 <= covered <= 40


def test_each_subject_is_left_out_of_the_pixels_of_the_others(maps: Maps) -> None:
    curves = counted(maps)
    without = curves.bootstrap_and_without(0)[1]
    assert list(without) == list(BOOTSTRAPPED)
    for index, name in enumerate(NAMES):
        others = curves.pooled([other for other in NAMES if other != name])
        for metric in BOOTSTRAPPED:
            assert without[metric][index] == pytest.approx(others[metric].value, abs=1e-3), (name, metric)
    single = SubjectCurves()  # without the only subject that has an anomaly nothing is defined, not even by rounding
    single.update(maps[0], maps[1] & (IDS == 7).view(-1, 1, 1, 1), maps[2], IDS, 0.25, threshold())
    left = single.bootstrap_and_without(0)[1]
    assert all(np.isnan(values[NAMES.index(7)]) and not np.isnan(values[0]) for values in left.values())
    one = SubjectCurves()
    one.update(*(part[:1] for part in maps), IDS[:1], 0.25, None)
    assert np.isnan(one.bootstrap_and_without()[1]["auroc"]).all()
    assert not len(SubjectCurves().bootstrap_and_without()[1]["ap"])


def test_weights_draw_every_subject_equally() -> None:
    weights = resampling_weights(50, 2000, 0)
    assert (weights.sum(1) == 50).all()
    assert weights.mean(0) == pytest.approx(1, abs=0.15)


def test_subjects_pickle_and_merge(maps: Maps) -> None:
    curves = counted(maps)
    back = pickle.loads(pickle.dumps(curves))
    assert back.rows() == curves.rows()
    assert back.pooled() == curves.pooled()
    assert back.bootstrap(50) == curves.bootstrap(50)
    back.merge(counted(maps))
    assert back.rows()[2]["images"] == 6
    assert [row["ap"] for row in back.rows()] == [row["ap"] for row in curves.rows()]
    assert SubjectCurves().rows() == []
    without = SubjectCurves()
    without.update(*maps, IDS, 0.25, None)
    assert {row["dice"] for row in without.rows()} == {None}


@pytest.mark.slow
def test_400_subjects_take_seconds_and_little_memory() -> None:
    rng, histograms = np.random.default_rng(0), SubjectHistograms()
    start = time.process_time()
    tracemalloc.start()
    for name in range(400):
        block = np.zeros(4000, dtype=BIN)
        block["key"] = np.sort(rng.integers(2**62, 2**63, len(block), dtype=np.uint64))
        block["normal"], block["anomalous"] = rng.integers(0, 50, len(block)), rng.integers(0, 3, len(block))
        block["region"], block["mixed"] = block["anomalous"] / 30, True
        histograms._append(name, block)
    histograms._totals = {name: np.array([1, 10, 5, 3, 4]) for name in range(400)}
    intervals = histograms.bootstrap(1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - start < 30
    assert peak < 100e6
    assert all(low < high for low, high in (intervals[name] for name in BOOTSTRAPPED[:4]))


pytestmark = pytest.mark.filterwarnings("ignore:.* is known to:UserWarning")


@pytest.fixture
def crowded() -> Maps:
    """Scores, mask and subject of eight images."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(8, 1, 32, 32, dtype=torch.bool)
    mask[:, :, 4:10, 4:10] = True
    return torch.randn(8, 1, 32, 32, generator=generator) + 2 * mask, mask, torch.arange(8)


@pytest.mark.parametrize("how", ["offset", "half", "sigmoid", "exact", "double"])
def test_scores_that_crowd_far_from_the_pivot_have_intervals_around_the_truth(crowded: Maps, how: str) -> None:
    scores, mask, subject = crowded
    kinds = {"offset": scores + 1000, "half": (scores + 30).half(), "sigmoid": (2 * scores + 5).sigmoid()}
    scores = kinds.get(how, scores.double() * 1e-9 + 1 if how == "double" else scores)
    exact, subjects = ExactCurve(), SubjectCurves(full_bits=32 if how == "exact" else 20)
    exact.update(scores, mask)
    subjects.update(scores, mask, None, subject, pivot=0.0, threshold_bin=None)
    intervals, pooled = subjects.bootstrap(100), subjects.pooled()
    for name in BOOTSTRAPPED[:4]:
        truth = exact.compute()[name].value
        assert pooled[name] == pytest.approx([truth] * 3, abs=1e-12), name
        assert intervals[name][0] < truth < intervals[name][1], name


def test_more_bins_than_fit_are_halved_whatever_the_order(crowded: Maps) -> None:
    scores, mask, subject = crowded
    truth = ExactCurve()
    truth.update(scores, mask)

    def counted(images: list[list[int]]) -> SubjectCurves:
        curves = SubjectCurves(limit=1500)
        for part in images:
            curves.update(scores[part], mask[part], None, subject[part] // 2, 0.0, 600_000)
            curves.rows()  # adds up what waits
        return curves

    whole = counted([list(range(8))])
    first, second = counted([[7], [2], [0, 5]]), counted([[6, 1], [4], [3]])
    first.merge(second)
    for parts in (counted([[3, 1, 6], [0], [7, 5, 4], [2]]), first):
        assert parts._totals.keys() == whole._totals.keys()
        for name, bins in whole._settled().items():
            np.testing.assert_array_equal(parts._settled()[name], bins)
            np.testing.assert_array_equal(parts._totals[name], whole._totals[name])
        assert parts._bits == whole._bits
    assert 750 < sum(map(len, whole._settled().values())) <= 1500
    for name, certified in truth.compute().items():
        got = whole.pooled()[name]
        assert got.low - 1e-12 <= certified.value <= got.high + 1e-12, name
    assert whole.bootstrap(50)["auroc"] is not None
    with pytest.raises(ValueError, match="limit"):
        whole.merge(SubjectHistograms())


def test_shared_bins_read_as_the_bins_do(crowded: Maps) -> None:
    scores, mask, subject = crowded
    subjects = SubjectCurves()
    subjects.update(scores, mask, None, subject, 0.0, None)
    weights = resampling_weights(8, 5, 0)
    values, _ = subjects._resampled(weights, subjects._in_shared_bins())
    for row, times in enumerate(weights):
        pooled = subjects.pooled(np.repeat(np.arange(8), times).tolist())
        for name in BOOTSTRAPPED[:4]:
            assert values[name][row] == pytest.approx(pooled[name].value, abs=2e-4), name


def test_scores_tie_within_the_drawn_subjects_alone() -> None:
    subjects = SubjectCurves(limit=2)  # so that all scores of a sign share a bin
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :2] = True
    for name, score in enumerate((0.9, 0.9001, 0.9)):
        subjects.update(torch.full((1, 4, 4), score), mask, None, torch.tensor([name]), 0.0, None)
    weights = np.array([[2, 0, 0], [0, 1, 0], [1, 0, 2], [1, 1, 0]])
    values = subjects._resampled(weights, subjects._in_shared_bins())[0]["ap"]
    assert values[:3] == pytest.approx([0.125] * 3)
    assert values[3] == subjects.pooled([0, 1])["ap"].value != 0.125


def test_bins_too_coarse_for_the_scores_give_no_interval_rather_than_a_wrong_one(crowded: Maps) -> None:
    scores, mask, subject = crowded
    subjects = SubjectCurves(limit=8)
    subjects.update(scores, mask, None, subject, pivot=0.0, threshold_bin=None)
    assert subjects.bootstrap(50) == dict.fromkeys(BOOTSTRAPPED)


def test_bins_are_in_the_order_of_the_scores_and_fine_near_one() -> None:
    rng = np.random.default_rng(0)
    crowd = np.concatenate([10.0 ** rng.uniform(-16, 0, 500), 1 - 10.0 ** rng.uniform(-16, 0, 500)])
    special = [0.0, 0.5, 1.0, 1 - 2.0**-53, 1 + 2.0**-52, 2.0, 1e308, np.inf, 5e-324, np.nextafter(0.5, 0)]
    scores = np.sort(np.concatenate([crowd, special, -crowd, np.negative(special)]))
    for bits in (12, 30, 64):
        bins = ends(bins_of(scores, scores[:0], scores[:0], 64), bits)
        assert (bins[1:] >= bins[:-1]).all()
    near = np.float32(1) - np.float32(2) ** -np.arange(1, 25, dtype=np.float32)
    assert len(bins_of(near, near[:0], near[:0], 12)) == len(near)
