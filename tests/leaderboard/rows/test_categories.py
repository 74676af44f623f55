import io
from dataclasses import replace as copy

import pytest
from msgspec.structs import replace
from rich.console import Console

from leaderboard.board import build
from leaderboard.record import Measure
from leaderboard.results.collect import Collection
from leaderboard.results.run_arrays import run_of
from leaderboard.rows import categories
from leaderboard.rows.aggregate import aggregate
from leaderboard.show.categories import csv_categories, markdown_categories, print_categories


def separate(make_run, category, value, seed=0, latent=16):
    return make_run(
        seed,
        {"rec_l1": value},
        run_id=f"{category}-{latent}-{seed}",
        setting_id=f"{category}-{latent}",
        dataset=f"mvtec_ad_{category}",
        family="mvtec_ad",
        category=category,
        config={"dataset": {"name": "mvtec_ad", "category": category}, "model": {"latent": latent}},
        provenance={"data_fingerprint": category, "split_digest": category},
    )


def by_category(results, metric, free=()):
    labels = {(row.dataset, row.setting_id): row.label for row in aggregate(Collection(results))}
    return categories.by_category(results, metric, labels, free)


def joint(make_result, values, seed=0, **changes):
    result = make_result(
        seed, {"rec_l1": sum(values.values()) / len(values)}, dataset="mvtec_ad", family="mvtec_ad", **changes
    )
    measures = {name: {"auroc": Measure(value, value, value)} for name, value in values.items()}
    predictor = replace(result.predictors["rec_l1"], groups={"category": measures})
    return run_of(replace(result, predictors={"rec_l1": predictor}))


def test_the_mean_counts_every_category_the_same_and_only_seeds_that_have_all(make_run):
    values = {("bottle", 0): 0.9, ("cable", 0): 0.7, ("bottle", 1): 0.8, ("cable", 1): 0.5, ("bottle", 2): 0.1}
    (row,) = by_category([separate(make_run, name, v, seed) for (name, seed), v in values.items()], "auroc")
    assert row.categories["bottle"].mean == pytest.approx(0.6)
    assert row.categories["cable"].n == 2
    assert (row.mean.mean, row.mean.n) == (pytest.approx((0.8 + 0.65) / 2), 2)
    assert not row.joint


def test_settings_never_share_a_row_and_one_category_makes_no_table(make_run):
    results = [separate(make_run, name, 0.9, latent=latent) for name in ("bottle", "cable") for latent in (16, 32)]
    rows = by_category(results, "auroc")
    assert len({row.label for row in rows}) == len(rows) == 2
    assert all(row.label.startswith("vae#") for row in rows)
    assert by_category(results[:1], "auroc") == []


def test_a_setting_has_the_label_that_the_other_tables_give_it(make_run, make_result):
    results = [
        joint(make_result, {"bottle": value, "cable": value}, setting_id=name, config={"model": {"lr": value}})
        for name, value in (("abcd1", 0.6), ("abce2", 0.4))
    ]
    board = build(Collection(results))
    assert [(row.label, row.mean.mean) for row in board.categories["auroc"]] == [("vae#abce", 0.4), ("vae#abcd", 0.6)]
    assert {row.label for row in board.rows} == {"vae#abcd", "vae#abce"}
    each = [
        separate(make_run, name, latent / 100, latent=latent) for name in ("bottle", "cable") for latent in (16, 32)
    ]
    board = build(Collection(each))
    first = {row.label for row in board.rows if row.dataset == "mvtec_ad_bottle"}
    assert {row.label for row in board.categories["auroc"]} == first == {"vae#bottle-1", "vae#bottle-3"}


def test_settings_that_share_no_dataset_are_told_apart_and_other_code_is_no_other_label(make_run):
    found = (("bottle", 0.9), ("cable", 0.9), ("nut", 0.8, 0, 32), ("tile", 0.8, 0, 32))
    runs = [separate(make_run, *one) for one in found]
    assert {row.label for row in by_category(runs, "auroc")} == {"vae#bott", "vae#nut-"}
    for one in runs[:2]:
        facts = one.facts | {"provenance.source_digest": "other"}
        runs.append(copy(one, run_id=f"{one.run_id}-other", seed=1, facts=facts))
    assert [row.label for row in by_category(runs, "auroc")].count("vae#bott") == 2


def test_what_is_the_same_in_every_setting_is_one_row(make_run):
    results = [separate(make_run, name, 0.9, latent=latent) for name in ("bottle", "cable") for latent in (16, 32)]
    (row,) = by_category(results, "auroc", {("mvtec_ad", "rec_l1")})
    assert (row.label, row.beta, row.mean.n) == ("any", None, 1)
    assert "| any | any | rec_l1 | 0.900 |" in markdown_categories([row], "auroc")
    assert (
        csv_categories({"auroc": [row]}).splitlines()[1].startswith("mvtec_ad,False,any,any,,rec_l1,auroc,bottle,0.9")
    )


def test_one_model_for_all_categories_is_told_from_a_model_for_each(make_run, make_result):
    results = [separate(make_run, name, 0.9) for name in ("bottle", "cable")]
    rows = by_category([*results, joint(make_result, {"bottle": 0.6, "cable": 0.4})], "auroc")
    assert [(row.joint, row.mean.mean) for row in rows] == [(False, 0.9), (True, 0.5)]
    stream = io.StringIO()
    print_categories(rows, "auroc", Console(file=stream, width=80))
    assert "mvtec_ad, one model per category (2)" in stream.getvalue()
    assert "0.400 cable" in stream.getvalue()
    assert "0.600 bottle" in stream.getvalue()
    assert "| vae | 1 | rec_l1 | 0.500 | 0.600 | 0.400 |" in markdown_categories(rows, "auroc")
    assert csv_categories({"auroc": rows}).splitlines()[-1] == "mvtec_ad,True,vae,vae,1.0,rec_l1,auroc,mean,0.5,,,,1"
