"""Tests and components against SciPy, closed forms, published tables and brute force."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from leaderboard.results.collect import Collection
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.comparison import reference
from leaderboard.rows.ranking import cliques, rank
from leaderboard.rows.views import chosen
from leaderboard.statistics.effects import correlation, dependence, difference_effect, mean_effect
from leaderboard.statistics.paired import holm, over_both, over_seeds, over_subjects
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


def test_over_seeds_is_scipys_paired_t():
    differences = RANDOM.normal(0.3, 1, size=(3, 6))
    differences[1, 4:] = np.nan
    for row, found in zip(differences, over_seeds(differences), strict=True):
        known = row[~np.isnan(row)]
        expected = stats.ttest_1samp(known, 0)
        assert found.p == pytest.approx(expected.pvalue)
        assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert found.effect == pytest.approx(known.mean() / known.std(ddof=1))
        assert found.n == len(known)


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


def test_over_both_is_clarks_min_f_and_says_nothing_of_a_single_seed():
    seeds, subjects = RANDOM.normal(0.1, 0.3, size=(1, 400)), RANDOM.normal(0.1, 0.5, size=(1, 500))
    first, second = (stats.ttest_1samp(one[0], 0).statistic ** 2 for one in (seeds, subjects))
    (p,) = over_both(seeds, subjects)
    assert p == pytest.approx(stats.chi2.sf(first * second / (first + second), 1), rel=0.2)
    assert over_both(seeds, None) == pytest.approx(stats.ttest_1samp(seeds[0], 0).pvalue)
    assert over_both(seeds, subjects[:, :5]) == over_both(seeds, None)
    assert over_both(seeds, -subjects) == 1.0
    assert np.isnan(over_both(seeds[:, :2], subjects)).all()
    assert over_both(np.full((1, 3), 0.1), subjects) == pytest.approx(stats.ttest_1samp(subjects[0], 0).pvalue)


def test_over_both_keeps_its_level_where_seeds_and_subjects_vary_alike():
    """Where a test over seeds and one over subjects must both say so, a difference of 0 passes in twice 5 % and more."""
    random, each, both = np.random.default_rng(5), 0, 0
    for _ in range(300):
        table = random.normal(0, 0.1, (20, 1)) + random.normal(0, 0.1, (1, 20)) + random.normal(0, 0.1, (20, 20))
        seeds, subjects = table.mean(axis=1)[None], table.mean(axis=0)[None]
        each += over_seeds(seeds)[0].p < 0.05 and over_subjects(subjects)[0].p < 0.05
        both += over_both(seeds, subjects)[0] < 0.05
    assert each > 30
    assert both < 23  # 15 expected at most, and two standard errors


def paired_rows(make_run, values, subjects=None):
    """Rows from {predictor: values over seeds}, and {predictor: AP per subject}, which every seed repeats."""
    runs = []
    for seed in range(max(map(len, values.values()))):
        of_seed = {
            name: {"value": row[seed], **({"subjects": subjects[name]} if subjects else {})}
            for name, row in values.items()
            if seed < len(row)
        }
        runs.append(make_run(seed, of_seed))
    return aggregate(Collection(runs))


def test_one_seed_decides_nothing_however_many_subjects(make_run):
    subjects = {"a": [0.8 + at / 1000 for at in range(50)], "b": [0.5 + at / 999 for at in range(50)]}
    one = {row.predictor: row.versus["ap"] for row in paired_rows(make_run, {"a": [0.8], "b": [0.5]}, subjects)}
    assert one["b"].subjects.adjusted < 1e-6
    assert (one["b"].p, one["b"].verdict) == (None, "undecided")
    values = {"a": [0.8, 0.81, 0.79], "b": [0.5, 0.5, 0.52]}
    three = {row.predictor: row.versus["ap"] for row in paired_rows(make_run, values, subjects)}
    assert three["b"].verdict == "worse"
    assert three["b"].seeds.p < three["b"].p < 0.05


def test_a_lucky_seed_does_not_become_the_reference(make_run):
    rows = paired_rows(make_run, {"whole": [0.8, 0.81, 0.79], "low": [0.5, 0.5, 0.52], "lucky": [0.9]})
    assert reference(rows, "auroc").predictor == "whole"
    verdicts = {row.predictor: row.versus["auroc"].verdict for row in rows}
    assert verdicts == {"whole": "best", "low": "worse", "lucky": "undecided"}
    assert reference(rows[:1], "auroc") is rows[0]


def test_subjects_are_compared_over_the_seeds_that_both_rows_have(make_run):
    """Both rows have the same value in every common seed; the best one has a fourth, better seed."""
    names = [0.5 + at / 100 for at in range(8)]
    runs = [make_run(seed, {name: {"value": value, "subjects": names} for name, value in (("a", 0.9), ("b", 0.8))})
            for seed in range(3)]  # fmt: skip
    runs.append(make_run(3, {"a": {"value": 0.9, "subjects": [one + 0.3 for one in names]}}))
    (b,) = [row for row in aggregate(Collection(runs)) if row.predictor == "b"]
    assert b.versus["ap"].subjects.difference == pytest.approx(0.0)


def test_too_few_pairs_and_constant_differences_get_no_p():
    few, constant = over_seeds(np.array([[0.1, 0.2, np.nan], [0.1, 0.1, 0.1]]))
    assert (few.p, few.n, few.difference) == (None, 2, pytest.approx(0.15))
    assert few.why == "n too small: 3 common seeds are needed"
    assert (constant.p, constant.why) == (None, "the difference is the same in every seed")
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
