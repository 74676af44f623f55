"""Calibrated scores: shares, and the two scales that go on beyond the highest normal score, against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from anomaly_bench.metrics import Calibration, LocalizationCurve

GENERATOR = np.random.default_rng(0)
AWKWARD = {
    "one pixel": np.array([2.0]),
    "two pixels": np.array([0.1, 0.2]),
    "few pixels": GENERATOR.normal(size=7),
    "zeros": np.zeros(50),
    "constant": np.full(1000, -0.3),
    "saturated": np.minimum(GENERATOR.normal(size=10_000), 1.0),
    "mostly zero": np.maximum(GENERATOR.normal(size=10_000) - 1.5, 0.0),
    "nearly equal at the top": np.r_[GENERATOR.normal(size=1000), np.full(20, 5.0), np.full(5, 5.0001)],
    "light tail": GENERATOR.uniform(size=10_000),
    "heavy tail": GENERATOR.pareto(1.0, size=10_000),
    "infinite": np.r_[GENERATOR.normal(size=1000), np.inf],
    "large": 1e30 * GENERATOR.normal(size=1000),
}


def calibration(normal):
    scores = torch.as_tensor(np.asarray(normal), dtype=torch.float32).view(1, 1, -1)
    curve = LocalizationCurve()
    curve.update(scores, torch.zeros_like(scores, dtype=torch.bool))
    return Calibration.of(curve)


def test_scores_of_a_known_distribution_are_calibrated_far_beyond_all_that_were_seen():
    normal, exponential = GENERATOR.normal(size=300_000), GENERATOR.exponential(size=300_000)
    seen = torch.linspace(-2.5, 4.0, 14)
    expected = torch.from_numpy(norm.ppf(norm.cdf(seen.numpy()))).float()
    torch.testing.assert_close(calibration(normal)(seen, "probit"), expected, atol=0.25, rtol=0)
    torch.testing.assert_close(calibration(normal)(seen[:9], "probit"), expected[:9], atol=0.02, rtol=0)
    far = torch.tensor([0.5, 2.0, 6.0, 12.0, 24.0])
    torch.testing.assert_close(calibration(exponential)(far, "tail"), far, atol=0.02, rtol=0.15)
    heavy = calibration(GENERATOR.pareto(3.0, size=300_000))(far, "tail")
    torch.testing.assert_close(heavy, 3 * far.log1p(), atol=0.02, rtol=0.1)


def test_both_scales_are_those_of_the_share_where_there_are_normal_pixels():
    scores = GENERATOR.gamma(2.0, size=20_000)
    known, seen = calibration(scores), torch.from_numpy(np.quantile(scores, np.linspace(0.001, 0.98, 200))).float()
    share = known(seen).double()
    torch.testing.assert_close(torch.special.ndtr(known(seen, "probit").double()), share, atol=2e-4, rtol=0)
    torch.testing.assert_close(-(-known(seen, "tail").double()).expm1(), share, atol=2e-4, rtol=0)


@pytest.mark.parametrize("scale", ["probit", "tail"])
@pytest.mark.parametrize("name", AWKWARD)
def test_whatever_normal_pixels_score_the_scale_is_finite_and_grows_with_the_score_beyond_them(name, scale):
    scores = AWKWARD[name]
    known, finite = calibration(scores), scores[np.isfinite(scores)]
    low, high = finite.min(), finite.max()
    spread = max(high - low, abs(high), 1e-3)
    every = known(torch.linspace(low - spread, high + 20 * spread, 5001, dtype=torch.float64), scale)
    assert every.isfinite().all()
    assert (every.diff() >= 0).all()
    if name != "infinite":
        beyond = known(torch.linspace(high, high + 20 * spread, 300, dtype=torch.float64), scale)
        assert (beyond.diff() > 0).all()
    assert known(torch.tensor([-1e30, 1e30]), scale).isfinite().all()


def test_a_share_of_e_minus_300_has_its_probit():
    known = calibration(GENERATOR.uniform(size=100_000))
    score = torch.linspace(2.5, 9.0, 50)
    tail, probit = known(score, "tail"), known(score, "probit")
    assert 250 < tail[0] < 500
    assert tail[-1] > 1000  # exp(-746) is no double
    for one, other in zip(tail.tolist(), probit.tolist(), strict=True):
        assert norm.logsf(other) == pytest.approx(-one, rel=1e-5)


def test_the_tail_goes_on_where_the_body_ends():
    scores = GENERATOR.normal(size=50_000)
    known = calibration(scores)
    start = known.pivot + known._tail.start
    around = known(torch.linspace(start - 1e-3, start + 1e-3, 41, dtype=torch.float64), "probit")
    assert (around.diff() >= 0).all()
    assert around.diff().max() < 3e-3  # the width of a bin


@pytest.mark.parametrize("factor", [1e-6, 2.0, 4096.0])
def test_the_unit_of_the_scores_has_no_part_in_it(factor):
    scores, seen = GENERATOR.normal(size=5000), torch.linspace(-4, 40, 50, dtype=torch.float64)
    for scale in ("probit", "tail"):
        one, other = calibration(scores)(seen, scale), calibration(factor * scores)(factor * seen, scale)
        torch.testing.assert_close(one, other, rtol=5e-3, atol=5e-3)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        calibration([0.0, 1.0])(torch.tensor(math.nan), "probit")
