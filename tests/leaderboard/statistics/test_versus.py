"""Rows against their best one: closed forms, and how often verdicts are right on simulated tables."""

import numpy as np
import pytest
from scipy import stats

from leaderboard.statistics.versus import against, moderated, variance_prior


def table(random, rows, seeds, spread=0.0):
    """Values of equal rows with an sd of 0.01, half of the variance common to all rows of a seed; spread: of the log sd."""
    sd = 0.01 * np.exp(spread * random.normal(size=(rows, 1)))
    return 0.8 + sd * (random.normal(size=(rows, seeds)) + random.normal(size=seeds)) / np.sqrt(2)


def called(values, influence=None):
    """Which rows are called worse than the best."""
    found = against(values, int(np.nanmean(values, axis=1).argmax()), influence)
    return np.array([one.high is not None and one.high < 0 for one in found])


def test_two_rows_have_the_paired_t_interval():
    values = np.array([[0.9, 0.85, 0.93, 0.9], [0.8, 0.8, 0.86, 0.79]])
    _, other = against(values, 0)
    expected = stats.ttest_rel(values[1], values[0])
    low, high = expected.confidence_interval(0.95)
    assert other.difference == pytest.approx(expected.statistic * expected._standard_error)
    # The better of two is no choice: what is drawn is |t|, to its last but one digit.
    assert (other.low, other.high) == pytest.approx((low, high), abs=0.004)
    assert (other.seeds, other.subjects) == (4, 0)


def test_one_variance_for_all_gives_tukeys_studentized_range():
    random = np.random.default_rng(3)
    values = table(random, 6, 40)  # so many seeds that rows are seen to vary alike
    variances = moderated(values)
    residual = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    mean_square = (residual**2).sum() / (5 * 39)
    best = int(values.mean(1).argmax())
    half = max(one.high - one.difference for one in against(values, best))
    expected = stats.studentized_range.ppf(0.95, 6, 5 * 39) * np.sqrt(mean_square / 40)
    assert half == pytest.approx(expected, rel=0.08)
    assert variances.values == pytest.approx(np.full(6, mean_square), rel=0.5)


def test_thevariance_prior_of_variances_is_recovered():
    random = np.random.default_rng(0)
    true = 4e-4 * 6 / random.chisquare(6, 4000)
    freedom, scale = variance_prior(true * random.chisquare(3, 4000) / 3, np.full(4000, 3))
    assert (freedom, scale) == pytest.approx((6, 4e-4), rel=0.1)
    assert variance_prior(4e-4 * random.chisquare(3, 4000) / 3, np.full(4000, 3))[0] > 30


def test_equal_rows_have_no_interval_to_speak_of_and_one_seed_has_none():
    values = np.array([[0.9, 0.8], [0.9, 0.8], [0.7, 0.75]])
    _, same, other = against(values, 0)
    assert same[:4] == (0.0, 0.0, 0.0, 2)
    assert other.low < other.difference < other.high
    assert against(values[:, :1], 0)[2] == (pytest.approx(-0.2), None, None, 1, 0)
    assert against(np.array([[0.9, 0.8], [np.nan, np.nan]]), 0)[1] == (None, None, None, 0, 0)


def test_a_row_of_fewer_seeds_has_a_wider_interval():
    values = table(np.random.default_rng(1), 12, 5)
    best = int(values[1:].mean(1).argmax()) + 1
    whole = against(values, best)[0]
    values[0, 2:] = np.nan
    part = against(values, best)[0]
    assert (whole.seeds, part.seeds) == (5, 2)
    assert part.high - part.low > 1.3 * (whole.high - whole.low)


def test_subjects_widen_an_interval_by_the_jackknifes_variance():
    random = np.random.default_rng(2)
    values = table(random, 8, 30)
    influence = random.normal(size=(8, 400))
    influence -= influence.mean(1, keepdims=True)
    best = int(values.mean(1).argmax())
    found = against(values, best, influence)
    index = (best + 1) % 8
    error = np.sqrt(((influence[index] - influence[best]) ** 2).sum() / (400 * 399))
    assert found[index].subjects == 400
    assert (found[index].high - found[index].difference) / error == pytest.approx(3.1, abs=0.6)  # of 7 differences


def test_a_row_whose_subjects_are_not_known_has_no_interval_and_narrows_no_other():
    random = np.random.default_rng(2)
    values, influence = table(random, 8, 3), random.normal(size=(8, 40)) / 10
    best = int(values.mean(1).argmax())
    lacking, others = (best + 1) % 8, [at for at in range(8) if at not in (best, (best + 1) % 8)]
    alone = against(values, best)
    influence[lacking, 5] = np.nan
    found = against(values, best, influence)
    assert found[lacking][1:] == (None, None, 3, 0)
    assert all(found[at].subjects == 40 and found[at].high > alone[at].high for at in others)
    influence[best, 5] = np.nan
    assert {one.low for one in against(values, best, influence)} == {None}
    influence[:] = np.nan  # of no row: over seeds alone
    assert against(values, best, influence) == alone


def test_a_row_without_a_model_has_no_variance_of_its_own_from_rows_that_have_one():
    """Its difference to another row varies as that row does, whatever a third one does."""
    random = np.random.default_rng(4)
    values = 0.5 + np.array([0.01, 0.012, 0.009, 0.011, 0.15])[:, None] * random.normal(size=(5, 5))
    values = np.vstack([values, np.full(5, 0.1)])
    found = against(values, 0)
    assert found[5].high < 0
    assert moderated(values).values[5] < 0.15**2 / 10
    twice = against(np.vstack([values[5:], values[5:] - 0.05, values[:2] - 0.3]), 0)
    assert twice[1][:3] == pytest.approx((-0.05, -0.05, -0.05))


def test_a_row_of_one_seed_has_no_interval_from_others():
    values = table(np.random.default_rng(1), 12, 5)
    values[3, 1:] = np.nan
    assert against(values, 0)[3][1:4] == (None, None, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "spread", "most"), [(10, 0.0, 0.05), (60, 0.0, 0.05), (10, 0.5, 0.09), (60, 0.5, 0.09)]
)
def test_equal_rows_are_seldom_called_worse(rows, spread, most):
    """A family error of 5 % where rows vary alike, and not much more where their sds differ by 1.6 times either way."""
    random, tables = np.random.default_rng(rows), 400
    calls = np.array([called(table(random, rows, 3, spread)) for _ in range(tables)])
    noise = 2 * np.sqrt(most * (1 - most) / tables)
    assert calls.any(axis=1).mean() <= most + noise
    assert calls[:, 0].mean() <= 0.025


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "difference"), [(10, 0.05), (60, 0.1), (10, 0.03), (60, 0.03)])
def test_a_true_difference_is_found_with_three_seeds(rows, difference):
    random, found = np.random.default_rng(1), []
    for _ in range(200):
        values = table(random, rows, 3)
        values[0] -= difference
        found.append(called(values)[0])
    assert np.mean(found) >= (0.98 if difference > 0.03 else 0.85)


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [8, 40])
def test_few_subjects_do_not_make_equal_rows_worse(subjects):
    random, calls = np.random.default_rng(subjects), []
    for _ in range(200):
        parts = 0.1 * (random.normal(size=subjects) + random.normal(size=(12, subjects)) / 2)
        values = table(random, 12, 3) + parts.mean(1, keepdims=True)
        calls.append(called(values, parts - parts.mean(1, keepdims=True)).any())
    assert np.mean(calls) <= 0.07
