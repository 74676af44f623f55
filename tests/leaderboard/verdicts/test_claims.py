"""Each claim on results made to support it, to contradict it, and to leave it open."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_ind

from leaderboard.results.collect import Collection
from leaderboard.rows.aggregate import aggregate
from leaderboard.show.sentences import domains_of, sentence
from leaderboard.show.texts import effect_text, part_text, scopes
from leaderboard.statistics.effects import Effect, mean_spread
from leaderboard.verdicts.claims import CLAIMS, evaluate

DOMAINS = ("natural", "natural", "natural", "medical", "medical", "medical")


def noise(*key):
    return float(np.random.default_rng(abs(hash(key)) % 2**32).normal(0, 0.004))


def finding(name, runs, metric="auroc"):
    return next(one for one in evaluate(aggregate(Collection(runs)), metric) if one.name == name)


@pytest.fixture
def runs(make_run):
    """Runs over datasets, betas and seeds from a function of (dataset, beta, seed) to predictors and, it may be, training."""

    def _runs(values, datasets=6, betas=(1.0,), seeds=3):
        found = []
        for at in range(datasets):
            for beta in betas:
                for seed in range(seeds):
                    predictors, training = values(at, beta, seed)
                    config = {
                        "seed": seed,
                        "dataset": {"domain": DOMAINS[at]},
                        "model": {"beta": beta},
                        "predictors": {"members": {"ensemble_probit": {"members": ["rec_l1", "grad_kl"]}}},
                    }
                    found.append(
                        make_run(seed, predictors, dataset=f"d{at}", family=f"d{at}", beta=beta, config=config,
                                 setting_id=f"d{at}-{beta}", training=training)
                    )  # fmt: skip
        return found

    return _runs


@pytest.mark.parametrize(
    ("natural", "medical", "datasets", "verdict"),
    [
        (0.1, 0.0, 6, "supported"),
        (0.0, 0.1, 6, "contradicted"),
        (0.05, 0.05, 6, "undecided"),
        (0.1, 0.0, 4, "undecided"),
    ],
)
def test_projection(runs, natural, medical, datasets, verdict):
    def values(at, beta, seed):
        gain = (natural if at < 3 else medical) + 3 * noise(at)
        return {"rec_l1": 0.5, "projection": 0.5 + gain}, {}

    found = finding("projection", runs(values, datasets))
    assert found.beyond_verdict == verdict
    assert bool(found.beyond_decide) == (verdict == "undecided")
    assert found.effect.value == pytest.approx(found.beyond.value)
    if datasets == 6:
        assert found.effect.value == pytest.approx(natural - medical, abs=0.02)
    else:
        assert "n too small: 3 and 1 natural and medical datasets" in found.beyond_decide


def with_subjects(spread):
    """What 20 subjects add to a difference of two rows whose first is at 0.5."""
    return {"subjects": [0.5] * 20, "without": {"auroc": [0.5 + spread * (at - 9.5) for at in range(20)]}}


@pytest.mark.parametrize(("spread", "verdict", "who"), [(0.0, "supported", ""), (1e-3, "undecided", "test subjects")])
def test_projection_on_these_datasets_is_over_seeds_and_subjects(runs, spread, verdict, who):
    """Gains that differ between datasets by chance decide nothing of others like them, but of these they are known."""

    def values(at, beta, seed):
        gain = 0.03 * (at < 2) + (0.1 if at in (0, 5) else 0) + noise(at, beta, seed) / 10
        return {
            "rec_l1": {"value": 0.5} | with_subjects(0.0),
            "projection": {"value": 0.5 + gain} | with_subjects(spread),
        }, {}

    found = finding("projection", runs(values, 6, (1.0, 4.0)))
    assert (found.verdict, found.beyond_verdict) == (verdict, "undecided")
    assert who in found.decide
    assert "datasets of each kind" in found.beyond_decide
    assert list(found.parts) == [f"d{at}" for at in range(6)]
    assert found.parts["d0"].value == pytest.approx(0.13, abs=0.003)
    assert found.parts["d0"].low < found.parts["d0"].value < found.parts["d0"].high
    two = finding("projection", runs(values, 6, (1.0, 4.0), 2))
    assert (two.verdict, two.decide.count("2 seeds, at least 3 are needed")) == ("undecided", 1)


def standings(place):
    """Ten rivals at fixed levels and the KL gradient between the `place`th and the next."""
    return {f"rival{at}": 0.5 + at / 100 for at in range(10)} | {"grad_kl": 0.495 + place / 100}


@pytest.mark.parametrize(
    ("spread", "seeds", "verdict"), [(5, 4, "supported"), (0, 6, "contradicted"), (5, 1, "undecided")]
)
def test_kl_gradient_over_datasets(runs, spread, seeds, verdict):
    found = finding(
        "kl-gradient-dataset",
        runs(lambda at, beta, seed: (standings(3 + spread * (at % 2) + (seed % 2)), {}), seeds=seeds),
    )
    assert found.verdict == verdict
    assert (found.effect.n > 0) == (seeds > 1)


@pytest.mark.parametrize(
    ("spread", "seeds", "verdict"), [(5, 4, "supported"), (0, 6, "contradicted"), (5, 1, "undecided")]
)
def test_kl_gradient_over_settings(runs, spread, seeds, verdict):
    def values(at, beta, seed):
        return standings(3 + spread * (beta > 1) + (seed % 2) - (at % 3)), {}

    found = finding("kl-gradient-setting", runs(values, 3, (1.0, 4.0), seeds))
    assert found.verdict == verdict


def test_standing_is_compared_at_the_settings_and_among_the_rivals_that_all_datasets_share(runs):
    """The standing follows beta, and the datasets were run at different betas: that says nothing about datasets."""

    def values(at, beta, seed):
        return standings(2 if beta == 1.0 else 8), {}

    some = [run for run in runs(values, 4, (1.0, 4.0)) if run.beta == (1.0 if run.dataset in ("d0", "d1") else 4.0)]
    assert finding("kl-gradient-dataset", some).effect.n == 0
    some = [run for run in runs(values, 4, (1.0, 4.0)) if run.beta == 1.0 or run.dataset in ("d0", "d1")]
    found = finding("kl-gradient-dataset", some)
    assert (found.effect.value, found.effect.n, found.verdict) == (0.0, 4, "contradicted")

    def crowded(at, beta, seed):
        more = {f"weak{k}": 0.1 for k in range(10 * (at > 1))}
        return standings(5) | more, {}

    assert finding("kl-gradient-dataset", runs(crowded, 4)).effect.value == 0.0


def test_a_spread_that_is_there_but_too_small_to_matter_contradicts(runs):
    """Half a hundredth between betas, found beyond doubt: below the threshold all the same."""

    def values(at, beta, seed):
        value = 0.7 + 0.005 * (beta > 1) + noise(at, beta, seed) / 20
        return {"a": {"value": value, "validation": 0.9}}, {}

    found = finding("beta", runs(values, 3, (1.0, 4.0), 6))
    assert 0 < found.effect.low < found.effect.high < 0.01
    assert found.verdict == "contradicted"


def test_what_a_seed_does_at_every_beta_is_not_noise_between_betas(runs):
    def values(at, beta, seed):
        value = 0.5 + 0.1 * seed + 0.03 * np.log2(beta) + noise(at, beta, seed) / 4
        return {"a": {"value": value, "validation": 0.9}}, {}

    assert finding("beta", runs(values, 3, (1.0, 2.0, 4.0))).verdict == "supported"


@pytest.mark.parametrize(
    ("slope", "seeds", "sd", "verdict"),
    [(0.05, 4, 1, "supported"), (0.0, 8, 0.5, "contradicted"), (0.0, 3, 20, "undecided"), (0.05, 1, 1, "undecided")],
)
def test_beta(runs, slope, seeds, sd, verdict):
    def values(at, beta, seed):
        value = 0.7 - slope * np.log2(beta) + sd * noise(at, beta, seed)
        return {"a": {"value": value, "validation": 0.9}, "baseline": {"value": 0.9, "validation": 0.99}}, {}

    found = finding("beta", runs(values, 3, (1.0, 2.0, 4.0), seeds))
    assert found.verdict == verdict
    if verdict == "supported":
        assert found.effect.value == pytest.approx(0.05 * (2 / 3) ** 0.5, abs=0.01)


@pytest.mark.parametrize(("gain", "datasets", "verdict"), [(0.05, 6, "supported"), (-0.05, 6, "contradicted"),
                                                          (0.0, 6, "undecided"), (0.05, 2, "undecided")])  # fmt: skip
def test_ensemble(runs, gain, datasets, verdict):
    def values(at, beta, seed):
        members = {"rec_l1": {"value": 0.5, "validation": 0.9}, "grad_kl": {"value": 0.9, "validation": 0.1}}
        return {**members, "ensemble_probit": 0.5 + gain + (gain == 0) * 0.02 * (-1) ** at + noise(at, seed)}, {}

    found = finding("ensemble", runs(values, datasets))
    assert found.beyond_verdict == verdict
    assert found.effect.value == pytest.approx(gain, abs=0.01)  # against the member that validation chose, not the best


@pytest.mark.parametrize(("ratio", "verdict"), [(1.5, "supported"), (0.7, "contradicted"), (None, "undecided")])
def test_surroundings(runs, ratio, verdict):
    def values(at, beta, seed):
        return {"a": 0.5}, {"normal_error_far": 0.1, "normal_error_near": ratio and 0.1 * ratio + noise(at)}

    assert finding("surroundings", runs(values)).beyond_verdict == verdict


@pytest.mark.parametrize(
    ("slope", "betas", "datasets", "verdict"),
    [
        (0.01, 6, 6, "supported"),
        (-0.01, 6, 6, "contradicted"),
        (0.0, 6, 6, "undecided"),
        (-0.01, 3, 6, "undecided"),
        (-0.01, 6, 3, "undecided"),
    ],
)
def test_reconstruction_of_other_datasets(runs, slope, betas, datasets, verdict):
    """With a positive slope a worse reconstruction (higher −log p) goes with better localization."""

    def values(at, beta, seed):
        return {"rec_l1": 0.5 + slope * np.log2(beta) + noise(at, beta, seed) / 4}, {"last_rec": 100 + beta}

    found = finding("reconstruction", runs(values, datasets, [2.0**at for at in range(betas)]))
    assert found.beyond_verdict == verdict
    if betas < 5:
        assert "three seeds of runs with rec_l1 in 5 or more settings" in found.decide
    elif datasets < 5:
        assert "n too small: 3 datasets, at least 5 are needed" in found.beyond_decide


@pytest.mark.parametrize(("slope", "verdict"), [(0.01, "supported"), (-0.01, "contradicted"), (-0.0015, "undecided")])
def test_reconstruction_of_these_datasets_is_held_against_seeds(runs, slope, verdict):
    def values(at, beta, seed):
        return {"rec_l1": 0.5 + slope * np.log2(beta) + 2 * noise(at, beta, seed)}, {"last_rec": 100 + beta}

    found = finding("reconstruction", runs(values, 2, [2.0**at for at in range(5)]))
    assert found.verdict == verdict
    assert found.effect.subjects == 0
    assert set(found.parts) == {"d0", "d1"}
    assert all(-1 <= part.low <= part.high <= 1 for part in found.parts.values())


def test_smooth_curves_over_beta_that_have_nothing_to_do_with_reconstruction_decide_nothing(runs):
    """A curve that drifts with beta correlates with anything that does; over datasets the signs cancel."""

    def values(at, beta, seed):
        return {"rec_l1": 0.5 + (-1) ** at * 0.01 * np.log2(beta)}, {"last_rec": 100 + beta}

    found = finding("reconstruction", runs(values, 6, [2.0**at for at in range(6)]))
    assert (found.beyond_verdict, found.effect.value, found.effect.n) == ("undecided", 0.0, 6)


def test_without_fitting_runs_every_claim_is_undecided_and_says_what_is_needed(make_run):
    found = evaluate(aggregate(Collection([make_run(0)])))
    assert [one.name for one in found] == [claim.name for claim in CLAIMS]
    assert all(one.verdict == "undecided" and one.decide and one.effect.low is None for one in found)
    assert all(one.beyond_verdict == "undecided" and one.beyond_decide for one in found)
    assert json.loads(json.dumps([one.effect.n for one in found])) == [0] * len(CLAIMS)
    with pytest.raises(ValueError, match="unknown metric 'f1'"):
        evaluate([], "f1")


def test_two_betas_of_two_seeds_decide_no_claim(runs):
    def values(at, beta, seed):
        place = {"rec_l1": 0.5, "rival": 0.4, "ensemble_probit": 0.6 + 0.1 * (beta > 1)}
        far = place | {"projection": 0.5 + 0.1 * (at < 3), "grad_kl": 0.3 if beta > 1 else 0.9}
        return {
            name: {"value": value + noise(at, beta, seed, k) / 100, "validation": value}
            for k, (name, value) in enumerate(far.items())
        }, {"normal_error_far": 0.1, "normal_error_near": 0.2 + noise(seed) / 100, "last_rec": beta}

    for one in evaluate(aggregate(Collection(runs(values, 6, (1.0, 4.0), 2)))):
        assert (one.name, one.verdict) == (one.name, "undecided")
        if one.name in ("beta", "kl-gradient-setting"):
            assert (one.beyond_verdict, one.beyond.low, one.beyond.high) == ("undecided", None, None)


def test_a_spread_on_datasets_like_these_is_never_seen_to_be_small_and_asks_for_datasets():
    def spread(*sds, seeds=3):
        random = np.random.default_rng(0)
        groups = np.array([[-1.0], [0.0], [1.0]]) * np.sqrt(1.5)
        return mean_spread(
            {str(at): [sd * groups + 1e-4 * random.normal(size=(3, seeds))] for at, sd in enumerate(sds)}
        )

    small, large = spread(0.001, 0.002, 0.001, 0.002, 0.001), spread(0.05, 0.06, 0.05, 0.06, 0.05)
    assert (small.low is not None, small.high) == (True, None)
    assert large.low > 0.04
    assert large.value == pytest.approx(np.sqrt(np.mean(np.square([0.05, 0.06, 0.05, 0.06, 0.05]))), rel=0.01)
    assert spread(0.05, 0.06, 0.05, 0.06).low is None
    assert spread(0.05, 0.06, 0.05, 0.06, 0.05, seeds=2).low is None
    claim = next(one for one in CLAIMS if one.name == "beta")
    assert "more datasets" in claim._beyond_needs(small)
    assert "more betas" not in claim._beyond_needs(small)


def test_a_difference_of_two_kinds_needs_twice_the_datasets_of_a_mean():
    """Welch's test of 11 of each kind finds a difference of 0.02 at an sd of 0.015 in four cases of five, of 7 in 0.6."""
    claim = next(one for one in CLAIMS if one.name == "projection")
    assert "about 11 datasets of each kind" in claim._beyond_needs(Effect(0.02, -0.01, 0.05, 6, spread=0.015))
    random = np.random.default_rng(0)
    a, b = random.normal(0.02, 0.015, (2000, 11)), random.normal(0.0, 0.015, (2000, 11))
    assert np.mean(ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05) == pytest.approx(0.84, abs=0.03)


def test_the_categories_of_a_benchmark_count_one_by_one_of_the_kl_gradient_too(runs):
    def values(at, beta, seed):
        return standings(2 + 2 * (at % 3) + seed % 2), {}

    nested = [
        replace(run, family="all" if run.dataset in ("d0", "d1", "d2") else run.family) for run in runs(values, 6)
    ]
    found = finding("kl-gradient-dataset", nested)
    assert (found.effect.n, found.beyond.n) == (6, 4)


def test_an_interval_over_seeds_alone_says_so(runs):
    def values(at, beta, seed):
        whole = {"rec_l1": {"value": 0.5} | with_subjects(0.0), "projection": {"value": 0.6} | with_subjects(1e-4)}
        few = {"rec_l1": 0.5, "projection": 0.6 + noise(seed)}
        return (few if at == 5 else whole), {"normal_error_far": 0.1, "normal_error_near": 0.2 + noise(seed)}

    found = runs(values)
    (_, _, _, count, _), _ = scopes(finding("projection", found))
    assert count == "6 datasets, over seeds alone on d5"
    assert ", over seeds alone: these test images" in scopes(finding("surroundings", found))[0][3]
    assert part_text(finding("projection", found).parts["d5"]).endswith("over seeds alone")


def test_texts_of_effects():
    assert effect_text(Effect(-0.0001, -0.0002, 0.008, 3)) == "0.000 [0.000, 0.008]"
    assert effect_text(Effect(0.05, 0.04, None, 5)) == "+0.050, at least 0.040"
    assert part_text(Effect(0.5, None, None, 1, "one seed")) == "+0.500 (no interval: one seed)"
    assert part_text(Effect(0.5, None, None, 1, "one seed"), False) == "0.500 (no interval: one seed)"


def test_findings_in_words_and_a_remedy_that_is_the_same_for_both_is_said_once(runs):
    def values(at, beta, seed):
        gain = 0.02 * (at < 3) + noise(at, seed) / 100
        return {"rec_l1": 0.5, "projection": 0.5 + gain, "grad_kl": 0.4}, {}

    found = runs(values, 6, (1.0, 4.0))
    domains = domains_of(found)
    said = sentence(finding("projection", found), domains)
    assert said.startswith(
        "Projection changes pixel AUROC by +0.020 on natural and 0.000 on medical datasets (means); "
    )
    assert said.endswith("0.020 is 2.0 of 100 pairs of an anomalous and a normal pixel in the right order.")
    place = finding("kl-gradient-dataset", found)
    assert not place.difference
    said = sentence(place, domains)
    assert said.endswith(
        "is 1.00 on every dataset; noise over seeds subtracted, its standard deviation over datasets is 0.000."
    )
    assert sentence(finding("kl-gradient-dataset", runs(values, 1)), domains).endswith("the last, is 1.00 on d0.")
    (_, _, _, _, here), (_, _, _, _, beyond) = scopes(replace(place, decide="more", beyond_decide="more"))
    assert (here, beyond) == ("more", "the same")


def test_where_seeds_alone_are_too_few_more_seeds_are_asked_for(runs):
    def values(at, beta, seed):
        gain = 0.02 * (at < 3) + noise(at, seed) / 100
        return {"rec_l1": 0.5, "rival": 0.4, "projection": 0.5 + gain, "grad_kl": 0.3 + at / 10}, {}

    for name, seeds in (("projection", 1), ("projection", 2), ("kl-gradient-dataset", 2)):
        decide = finding(name, runs(values, 6, (1.0, 4.0), seeds)).decide
        few = "1 seed" if seeds == 1 else "2 seeds"
        assert decide == f"more seeds of the same runs (n too small: {few}, at least 3 are needed)"
    assert "on more datasets" in finding("kl-gradient-dataset", runs(values, 2, (1.0,), 2)).decide


def test_the_categories_of_a_benchmark_are_datasets_here_and_one_beyond(runs):
    def values(at, beta, seed):
        return {"rec_l1": 0.5, "projection": 0.5 + (0.1 if at < 3 else 0.0) + 0.01 * at + noise(at, seed) / 10}, {}

    nested = [replace(run, family="all" if run.domain == "natural" else run.family) for run in runs(values, 6)]
    found = finding("projection", nested)
    assert (found.effect.n, found.beyond.n) == (6, 4)
    assert found.verdict == "supported"
    assert "1 and 3 natural and medical datasets" in found.beyond_decide


@pytest.mark.parametrize(
    ("grids", "betas", "settings"),
    [
        ({"d0": [("vae", 2)]}, "2 betas", "2 settings"),
        ({"d0": [("vae", 2)], "d1": [("vae", 2)]}, "2 betas on each of 2 datasets", "2 settings on each of 2 datasets"),
        (
            {"d0": [("vae", 2)], "d1": [("vae", 3)], "d2": [("vae", 1)]},
            "2 to 3 betas on each of 2 datasets",
            "2 to 3 settings on each of 2 datasets",
        ),
        (
            {"d0": [("vae", 2), ("other", 2)], "d1": [("vae", 2)]},
            "2 betas of each of 3 pairs of dataset and model",
            "2 to 4 settings on each of 2 datasets",
        ),
        (
            {"d0": [("vae", 1)], "d1": [("vae", 2)]},
            "2 betas on 1 of 2 datasets",
            "2 settings on 1 of 2 datasets",
        ),
        ({"d0": [("vae", 1)]}, "0 betas", "0 settings"),
    ],
)
def test_betas_and_settings_are_counted_by_dataset(make_run, grids, betas, settings):
    runs = []
    for dataset, models in grids.items():
        for model, count in models:
            for beta in (2.0**at for at in range(count)):
                for seed in range(3):
                    names = {"rec_l1": 0.7, "grad_kl": 0.5, "rec_l2": 0.6}
                    values = {
                        name: {"value": level + noise(dataset, model, beta, seed, name), "validation": level}
                        for name, level in names.items()
                    }
                    own = {"dataset": dataset, "family": dataset, "setting_id": f"{dataset}-{model}-{beta}"}
                    config = {"seed": seed, "model": {"beta": beta, "name": model}}
                    runs.append(make_run(seed, values, beta=beta, model=model, config=config, **own))
    for name, expected in (("beta", betas), ("kl-gradient-setting", settings)):
        found = finding(name, runs)
        assert found.over == expected
        assert scopes(found)[0][3].partition(", over seeds")[0] == expected
