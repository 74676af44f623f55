"""Tests and components against SciPy, closed forms, published tables and brute force."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from leaderboard.results.collect import Collection
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.comparison import mark, reference
from leaderboard.rows.ranking import cliques, rank
from leaderboard.rows.views import chosen
from leaderboard.statistics.effects import correlation, dependence, difference_effect, mean_effect
from leaderboard.statistics.paired import holm, over_subjects
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


def test_holm_as_in_the_textbook():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, np.nan, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_over_subjects_is_scipys_signed_rank_and_the_rank_biserial():
    differences = np.round(RANDOM.normal(0.3, 1, size=(5, 30)), 3)
    differences[1] = np.round(differences[1])  # ties and zeros
    differences[2:, 12:] = np.nan
    differences[3, :12] = np.linspace(0.1, 0.9, 12)
    for row, found in zip(differences, over_subjects(differences), strict=True):
        known = row[~np.isnan(row)]
        expected = stats.wilcoxon(known, method="exact" if len(known) < 26 else "asymptotic")
        assert found.p == pytest.approx(expected.pvalue)
        nonzero = known[known != 0]
        ranks = stats.rankdata(np.abs(nonzero))
        assert found.effect == pytest.approx((ranks * np.sign(nonzero)).sum() / ranks.sum())
    assert over_subjects(differences)[3].effect == 1.0


@pytest.mark.parametrize(
    "values", [[0, 1, 2, 3, 4, 5], [1, 1, 1, -1, 2, 2, -2, 3], [0, 0, 0.1 + 0.2, 0.3, -0.3, 4, 5], [-1, 1] * 4]
)
def test_ties_and_zeros_are_exact_by_brute_force(values):
    (found,) = over_subjects(np.array([values], dtype=float))
    known = np.array([value for value in np.round(values, 12) if value])
    ranks = stats.rankdata(np.abs(known))
    sums = np.array(list(product([0, 1], repeat=len(ranks)))) @ ranks
    smaller = min(ranks[known > 0].sum(), ranks[known < 0].sum())
    assert found.p == pytest.approx(min(1.0, 2 * np.mean(sums <= smaller)))


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


def test_too_few_pairs_and_constant_differences_get_no_p():
    five, none = over_subjects(np.array([[0.1, 0.2, 0.3, 0.4, 0.5, np.nan], [np.nan] * 6]))
    assert (five.p, five.n) == (None, 5)
    assert (none.p, none.difference, none.n) == (None, None, 0)
    assert over_subjects(np.zeros((1, 8)))[0].why == "no subject differs"


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


@pytest.mark.parametrize("common", [0.0, 0.2])
def test_dependence_covers_the_true_spread_whatever_seeds_do_to_all_groups(common):
    covered, means = 0, np.array([-0.06, 0.0, 0.06])
    for trial in range(300):
        random = np.random.default_rng(trial)
        groups = means[:, None] + random.normal(0, 0.1, (3, 4)) + random.normal(0, common, (1, 4))
        found = dependence([groups], "betas")
        covered += found.low <= np.sqrt((means**2).mean()) <= found.high
        table = groups - groups.mean(axis=0)
        ratio = 4 * table.mean(axis=1).var(ddof=1) / (((table - table.mean(axis=1, keepdims=True)) ** 2).sum() / 6)
        assert (found.low > 0) == (stats.f.sf(ratio, 2, 6) < 0.05)  # the F test of a randomised block design
    assert covered >= 277  # at least 95 % of 300, but for two standard errors


def test_dependence_of_two_groups_is_the_paired_t_interval_halved():
    table = RANDOM.normal([[3.0], [0.0]], size=(2, 5))
    expected = stats.ttest_rel(*table).confidence_interval()
    found = dependence([table], "betas")
    assert (found.low, found.high) == (pytest.approx(expected.low / 2), pytest.approx(expected.high / 2))
    assert dependence([table[:, :1], table[:1]], "betas").n == 0
    alike = np.array([[0.2, 0.2], [0.4, 0.4]])
    assert dependence([alike], "betas").why == "nothing varies over seeds"
    assert dependence([alike], "datasets", 0.1).high > 0.2  # noise of at least that of rounding to tenths
