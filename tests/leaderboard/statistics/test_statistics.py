"""Tests and components against SciPy, closed forms, published tables and brute force."""

import numpy as np
import pytest
from scipy import stats

from leaderboard.results.collect import Collection
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.comparison import mark, reference
from leaderboard.rows.ranking import cliques, rank
from leaderboard.rows.views import chosen
from leaderboard.statistics.effects import (
    contrast,
    correlation,
    dependence,
    difference_effect,
    estimates,
    mean_effect,
    random_dependence,
    units_needed,
)
from leaderboard.statistics.samples import bootstrap_intervals, statistics, summarise, variance_components

RANDOM = np.random.default_rng(0)


def test_columns_are_summarised_without_their_nan():
    values = np.array([[1.0, 0.1, np.nan], [3.0, 0.1, np.nan], [np.nan, 0.1, np.nan]])
    first, second, third = statistics(values)
    assert first == summarise([3.0, 1.0])
    assert (second.mean, second.sd, second.n) == (0.1, 0.0, 3)
    assert third == summarise([])


def test_variance_components_of_a_table_made_of_its_parts():
    seeds, subjects = np.array([-1.0, 0.0, 1.0]), np.array([-3.0, -1.0, 1.0, 3.0])
    noise = np.array([[1, -1, -1, 1], [-2, 2, 2, -2], [1, -1, -1, 1]]) * 0.1  # sums to 0 over rows and columns
    found = variance_components(5 + seeds[:, None] + subjects + noise)
    residual = (noise**2).sum() / 6
    assert found.residual == pytest.approx(residual**0.5)
    assert found.seed == pytest.approx((1.0 - residual / 4) ** 0.5)  # MS_seed = 4 · 1
    assert found.subject == pytest.approx((20 / 3 - residual / 3) ** 0.5)  # MS_subject = 3 · 20/3
    assert (found.seeds, found.subjects) == (3, 4)
    missing = np.array([[1.0, np.nan, 2.0], [1.0, 5.0, 2.0]])
    assert variance_components(missing).subjects == 2
    assert variance_components(missing[:1]) is None


def test_bootstrap_intervals_are_scipys_at_expanded_quantiles_and_paired():
    values = RANDOM.normal(size=(2, 40))
    low, high = bootstrap_intervals(values)
    level = 1 - 2 * stats.norm.sf((40 / 39) ** 0.5 * stats.t.ppf(0.975, 39))
    for row, found in zip(values, zip(low, high, strict=True), strict=True):
        expected = stats.bootstrap(
            (row,), np.mean, method="percentile", n_resamples=20_000, confidence_level=level, rng=1
        )
        assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.04)
    shifted, _ = bootstrap_intervals(values + 1.0)
    np.testing.assert_allclose(shifted, low + 1.0)
    assert np.isnan(bootstrap_intervals(np.ones((2, 1)))).all()


def test_bootstrap_intervals_of_eight_subjects_hold_the_mean_as_often_as_they_say():
    low, high = bootstrap_intervals(np.random.default_rng(3).normal(size=(2000, 8)))
    assert np.mean((low <= 0) & (high >= 0)) > 0.935  # the plain percentile interval: 0.89


def rows_over_seeds(make_run, values):
    """Rows from {predictor: values over seeds}."""
    runs = [
        make_run(seed, {name: row[seed] for name, row in values.items() if seed < len(row)})
        for seed in range(max(map(len, values.values())))
    ]
    return mark(aggregate(Collection(runs)))


def test_a_lucky_seed_does_not_become_the_reference(make_run):
    rows = rows_over_seeds(make_run, {"whole": [0.8, 0.81, 0.79], "low": [0.5, 0.5, 0.52], "lucky": [0.9]})
    assert reference(rows, "auroc").predictor == "whole"
    verdicts = {row.predictor: row.versus["auroc"].verdict for row in rows}
    assert verdicts == {"whole": "best", "low": "worse", "lucky": "undecided"}
    assert reference(rows[:1], "auroc") is rows[0]


def ranking_of(make_run, table, metric="auroc"):
    runs = [
        make_run(0, {name: {"value": value, "validation": value} for name, value in row.items()}, dataset=f"d{at}",
                 setting_id=f"d{at}")
        for at, row in enumerate(table)
    ]  # fmt: skip
    return rank(chosen(aggregate(Collection(runs)), [metric]), metric)


def test_ranks_friedman_and_nemenyi_as_in_demsar(make_run):
    values = RANDOM.uniform(size=(14, 4))
    found = ranking_of(make_run, [dict(zip("abcd", row, strict=True)) for row in values])
    assert found.p == pytest.approx(stats.friedmanchisquare(*values.T).pvalue)
    assert found.difference == pytest.approx(1.25, abs=0.005)  # Demšar 2006, section 3.2.2: k = 4, N = 14
    average = stats.rankdata(-values, axis=1).mean(axis=0)
    assert found.ranks == pytest.approx(dict(zip("abcd", average, strict=True)))
    assert list(found.ranks.values()) == sorted(found.ranks.values())
    lower = ranking_of(make_run, [dict(zip("abcd", row, strict=True)) for row in values], "fpr95")
    assert lower.ranks == pytest.approx(dict(zip("abcd", 5 - average, strict=True)))


def test_few_datasets_are_ranked_but_not_tested_and_gaps_are_named(make_run):
    found = ranking_of(make_run, [{"a": 0.9, "b": 0.8, "c": 0.7}, {"a": 0.9, "b": 0.8}])
    assert found.ranks == {"a": 1.0, "b": 2.0}
    assert (found.p, found.difference, found.left_out) == (None, None, {"c": 1})
    assert found.why.startswith("n too small: 2 datasets and 2 predictors")


def test_cliques_are_the_maximal_ones_by_brute_force():
    for trial in range(50):
        random = np.random.default_rng(trial)
        ranks = dict(zip("abcdefg", sorted(random.uniform(1, 7, 7)), strict=True))
        within = [
            names for size in range(2, 8) for start in range(8 - size) for names in [tuple("abcdefg"[start : start + size])]
            if ranks[names[-1]] - ranks[names[0]] <= 1.5
        ]  # fmt: skip
        maximal = [one for one in within if not any(set(one) < set(other) for other in within)]
        assert set(cliques(ranks, 1.5)) == set(maximal)


def test_effects_have_textbook_intervals():
    a, b = [0.3, 0.5, 0.4], [0.1, 0.0, 0.2, 0.1]
    found = difference_effect(a, b, 2, "x")
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (found.low, found.high, found.n) == (pytest.approx(expected.low), pytest.approx(expected.high), 7)
    assert difference_effect(a, b[:1], 2, "x").low is None
    assert difference_effect([1, 1], [2, 2], 2, "x").why == "nothing varies"
    assert mean_effect([1.0, 2.0], 3, "x").why == "n too small: 2 x, at least 3 are needed"
    x, y = list(range(10)), [1, 0, 2, 3, 5, 4, 6, 7, 9, 8]
    assert correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert correlation(x, [1.0] * 10) is None


def blocks(random, groups, seeds, sd, noise, count=1, common=0.0):
    """Tables (groups, seeds) whose groups have exactly that sd."""
    means = np.linspace(-1, 1, groups)
    means *= sd / np.sqrt((means**2).mean())
    return [
        means[:, None] + random.normal(0, noise, (groups, seeds)) + random.normal(0, common, (1, seeds))
        for _ in range(count)
    ]


@pytest.mark.parametrize("common", [0.0, 0.2])
def test_dependence_covers_the_true_spread_whatever_seeds_do_to_all_groups(common):
    covered, decided = 0, 0
    for trial in range(200):
        (groups,) = blocks(np.random.default_rng(trial), 3, 4, 0.05, 0.1, common=common)
        found = dependence([groups], "betas")
        covered += found.low <= 0.05 <= found.high
        decided += found.low > 0
        table = groups - groups.mean(axis=0)
        ratio = 4 * table.mean(axis=1).var(ddof=1) / (((table - table.mean(axis=1, keepdims=True)) ** 2).sum() / 6)
        assert (found.low > 0) == (stats.f.sf(ratio, 2, 6) < 0.025)  # the F test of a randomised block design
        assert found.value == pytest.approx(
            np.sqrt(max((ratio - 1) * 2 / 12, 0) * (table.var(axis=1, ddof=0).sum() * 4 / 6))
        )
    assert covered >= 186  # at least 95 % of 200, but for two standard errors
    assert 0 < decided < 150


@pytest.mark.parametrize(
    ("count", "groups", "noise", "power"),
    [(3, 3, 0.01, 0.8), (7, 3, 0.01, 0.95), (1, 6, 0.005, 0.95), (1, 3, 0.01, 0.1)],
)
def test_a_spread_that_is_not_there_is_seen_to_be_small_and_one_at_the_threshold_hardly_ever(
    count, groups, noise, power
):
    """With three seeds: one of 0.01 is called smaller in 1 of 100 cases at most, also where the noise is hardly known."""
    random = np.random.default_rng(count)
    none = [dependence(blocks(random, groups, 3, 0.0, noise, count), "betas").high < 0.01 for _ in range(100)]
    there = [dependence(blocks(random, groups, 3, 0.01, noise, count), "betas").high < 0.01 for _ in range(300)]
    assert np.mean(none) >= power
    assert np.mean(there) <= 0.01


def test_two_groups_of_two_seeds_say_nothing_and_what_does_not_vary_has_no_interval():
    table = np.array([[0.2, 0.3], [0.4, 0.6]])
    assert dependence([table], "betas").why == "n too small: three betas with 3 seeds in common are needed"
    assert dependence([table] * 9, "betas").low is None
    assert dependence([np.ones((2, 3))], "betas").low is None
    assert dependence([table[:, :1], table[:1]], "betas").n == 0
    alike = np.repeat([[0.2], [0.4], [0.3]], 3, axis=1)
    assert dependence([alike], "betas").why == "nothing varies over seeds"
    assert dependence([alike], "datasets", 0.1).high > 0.1  # noise of at least that of rounding to tenths


def test_the_spread_of_datasets_like_these_is_covered_and_wider():
    covered = 0
    for trial in range(200):
        random = np.random.default_rng(trial)
        table = random.normal(0, 0.2, (6, 1)) + random.normal(0, 0.05, (6, 3))
        found, here = random_dependence(table, "datasets"), dependence([table], "datasets")
        covered += found.low <= 0.2 <= found.high
        assert found.high > here.high
    assert 183 <= covered <= 198


def test_a_contrast_has_the_t_interval_over_seeds_and_adds_the_variance_over_subjects():
    seeds = np.array([0.1, 0.3, 0.2, 0.25])
    (one,) = estimates({"a": seeds}, {}).values()
    found, expected = contrast([(1.0, one)]), stats.ttest_1samp(seeds, 0).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.subjects == 0.0
    parts = np.linspace(-1, 1, 50)
    (both,) = estimates({"a": seeds}, {"a": parts}).values()
    assert both.variance == pytest.approx(seeds.var(ddof=1) / 4 + parts.var(ddof=1) / 50)
    wider = contrast([(1.0, both)])
    assert wider.high - wider.low > found.high - found.low
    assert wider.subjects == pytest.approx(parts.var(ddof=1) / 50 / both.variance)
    assert contrast([(1.0, estimates({"a": seeds[:2]}, {})["a"])]).why == "n too small: 2 seeds, at least 3 are needed"
    assert contrast([]).n == 0


@pytest.mark.slow
def test_a_contrast_covers_the_difference_of_these_datasets_and_finds_it():
    """Two natural and two medical datasets, 60 subjects and 3 seeds each: gains vary over datasets with an sd of 0.015."""
    random, covered, found = np.random.default_rng(0), [], []
    for _ in range(600):
        true = 0.02 * np.array([1, 1, 0, 0]) + random.normal(0, 0.015, 4)
        parts = random.normal(0, 0.02, (4, 60))
        values = true[:, None] + parts.mean(1, keepdims=True) + random.normal(0, 0.003, (4, 3))
        given = {str(at): values[at] for at in range(4)}, {str(at): parts[at] - parts[at].mean() for at in range(4)}
        effect = contrast(list(zip([0.5, 0.5, -0.5, -0.5], estimates(*given).values(), strict=True)))
        difference = true[:2].mean() - true[2:].mean()
        covered.append(effect.low <= difference <= effect.high)
        found.append(effect.low > 0)
    assert np.mean(covered) >= 0.93
    assert np.mean(found) > 0.8  # of datasets like these, Welch's test finds it in 7 of 100


def test_a_variance_that_is_pooled_over_datasets_counts_once():
    """Equal weights: the mean over k datasets of three seeds has k · 2 degrees of freedom, not k times as many."""
    random, pooled = np.random.default_rng(0), 0
    for _ in range(40):
        values = {str(at): random.normal(0, 0.01, 3) for at in range(5)}
        found = estimates(values, {})
        assert all(one.freedom <= 10 for one in found.values())
        if len({one.over_seeds for one in found.values()}) == 1:
            pooled += 1
            variance = np.mean([of.var(ddof=1) for of in values.values()])
            effect = contrast([(0.2, one) for one in found.values()])
            assert effect.high - effect.value == pytest.approx(stats.t.ppf(0.975, 10) * np.sqrt(variance / 15))
    assert pooled > 5


def test_how_many_datasets_a_difference_needs():
    assert units_needed(0.02, 0.015) == 7
    assert units_needed(1.0, 0.01) == 2
    assert units_needed(1e-9, 1.0) >= 10_000
    power = np.mean(
        [stats.ttest_1samp(np.random.default_rng(at).normal(0.02, 0.015, 7), 0).pvalue < 0.05 for at in range(800)]
    )
    assert power == pytest.approx(0.85, abs=0.06)
