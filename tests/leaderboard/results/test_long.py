"""Every value on a line of its own, there and back, and no key twice in anything that is exported."""

import csv
import io
from dataclasses import replace

import pandas as pd
import pytest

from leaderboard.board import build
from leaderboard.json_file import ResultError
from leaderboard.results.collect import Collection
from leaderboard.results.long import long_table, write_long
from leaderboard.show import exports
from leaderboard.show.categories import category_sheets, csv_categories
from leaderboard.show.sheets.views import VIEWS, sheets
from leaderboard.show.tables import by_dataset, leaderboard_sheet, setting_sheets

KEYS = {
    "model",
    "beta",
    "predictor",
    "dataset",
    "value",
    "pixels",
    "claim",
    "of",
    "smooth",
    "reported method",
    "chosen by",
}


@pytest.fixture
def runs(make_run):
    """Two categories, at two learning rates, in two folds, of two seeds; and an ensemble over the seeds."""
    found = []
    for category in ("bottle", "cable"):
        for rate in (0.1, 0.2):
            for fold in (0, 1):
                for seed in (0, 1):
                    config = {
                        "seed": seed,
                        "dataset": {"category": category, "split": {"folds": 2, "fold": fold}},
                        "model": {"lr": rate},
                    }
                    subjects = {"names": [f"s{fold}"], "subjects": [(0.25, None)]}
                    a = {"value": 0.5 + rate + fold / 10 + seed / 100, "validation": 0.4} | subjects
                    b = {"value": 0.3} | subjects | {"subjects": [(None, None)]}
                    found.append(
                        make_run(
                            seed,
                            {"a": a, "b": b},
                            run_id=f"{category}{rate}{fold}{seed}",
                            setting_id=f"{category}{rate}{fold}",
                            dataset=f"set_{category}",
                            family="set",
                            category=category,
                            config=config,
                            provenance={"data_fingerprint": category, "split_digest": f"{category}{fold}"},
                        )
                    )
    return found


def test_every_value_has_a_line_and_comes_back(runs, tmp_path):
    board = build(Collection(runs))
    table = board.to_pandas()
    assert list(table) == [
        "dataset",
        "family",
        "domain",
        "model",
        "beta",
        "setting",
        "run",
        "seed",
        "fold",
        "predictor",
        "part",
        "metric",
        "value",
    ]
    (one,) = table.query("run == 'cable0.211' and predictor == 'a' and part == 'test' and metric == 'ap'").value
    assert one == pytest.approx(0.81)
    assert table.fold.tolist().count(1) == len(table) / 2
    assert not table.duplicated([name for name in table if name != "value"]).any()
    subjects = board.to_pandas("subjects")
    assert set(subjects.metric) == {"dice"}
    assert subjects.query("run == 'cable0.211' and predictor == 'a'").subject.tolist() == ["s1"]
    paths = write_long(runs, tmp_path)
    assert [path.name for path in paths] == [
        f"{part}.{kind}" for part in ("runs", "subjects", "images") for kind in ("csv", "parquet")
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(paths[1]).astype(table.dtypes), table)
    assert pd.read_csv(paths[0]).value.tolist() == table.value.tolist()
    assert pd.read_csv(paths[2]).value.tolist() == [0.25] * 16
    assert long_table([]).empty


def test_scores_of_images_come_from_the_file_beside_the_result(make_run, tmp_path):
    run, older = (replace(make_run(seed, {"a": 0.5, "b": 0.4}), folder=tmp_path / str(seed)) for seed in (0, 1))
    run.folder.mkdir()
    path = run.folder / "images.csv"
    path.write_text("subject,slice,anomalous,a,b\nNA,3,1,0.5,1e-07\n=1+2,4,0,0.25,inf\n")
    table = long_table([run, older], "images")
    assert set(table.run) == {run.run_id}, "an older run has no such file"
    columns = ["predictor", "subject", "slice", "anomalous", "metric", "value"]
    assert table[columns].to_numpy().tolist() == [
        ["a", "NA", 3, 1, "score", 0.5],
        ["a", "=1+2", 4, 0, "score", 0.25],
        ["b", "NA", 3, 1, "score", 1e-7],
        ["b", "=1+2", 4, 0, "score", float("inf")],
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(write_long([run], tmp_path / "long")[-1]).astype(table.dtypes), table)
    assert long_table([older], "images").empty
    for damaged in ("subject,slice,anomalous,a\n1,2,0,0.5\n", "", "subject,slice,anomalous,a,b\n1,2,0,x,1\n"):
        path.write_text(damaged)
        with pytest.raises(ResultError, match=r"images\.csv: damaged"):
            long_table([run], "images")


def test_no_exported_table_has_two_rows_with_one_key(runs, make_run):
    joint = []
    for rate in (0.1, 0.2):
        for fold in (0, 1):
            config = {"dataset": {"split": {"folds": 2, "fold": fold}}, "model": {"lr": rate}}
            groups = {
                "category": {
                    name: {"auroc": {"value": 0.5 + fold / 10, "low": 0.5, "high": 0.7}} for name in ("bottle", "cable")
                }
            }
            same = {"run_id": f"j{rate}{fold}", "setting_id": f"j{rate}{fold}", "dataset": "set", "family": "set"}
            predictors = {"a": {"value": 0.7, "groups": groups}}
            joint.append(make_run(0, predictors, config=config, provenance={"split_digest": f"j{fold}"}, **same))
    board = build(Collection([*runs, *joint]))
    tables = [*sheets(board, VIEWS), *setting_sheets(board)]
    tables += [leaderboard_sheet(*of) for of in by_dataset(board.main).items()]
    tables += [sheet for metric, rows in board.categories.items() for sheet in category_sheets(rows, metric)]
    titles = [(sheet.view, sheet.title) for sheet in tables]
    assert len(set(titles)) == len(titles)
    for sheet in tables:
        at = [index for index, name in enumerate(sheet.header) if name in KEYS]
        keys = [tuple(row[index] for index in at) for row in sheet.rows]
        assert len(set(keys)) == len(keys), sheet.title
    (one,) = [row for row in board.categories["auroc"] if row.joint and row.label.startswith("vae#")][:1]
    assert one.categories["bottle"].mean == pytest.approx(0.55), "the mean over the folds"
    for text, named in (
        (csv_categories(board.categories), ("family", "joint", "label", "beta", "predictor", "metric", "category")),
        (exports.csv(board.rows), ("dataset", "label", "beta", "predictor")),
    ):
        lines = list(csv.DictReader(io.StringIO(text)))
        keys = [tuple(line[name] for name in named) for line in lines]
        assert len(keys) > 4
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("split", "fold"), [({"folds": 3, "fold": 2}, 2), ({"folds": None, "fold": 0}, None), ({}, None)]
)
def test_a_run_without_folds_has_no_fold(make_run, split, fold):
    run = make_run(0, {"a": 0.5}, config={"seed": 0, "dataset": {"split": split}})
    found = long_table([run])["fold"]
    assert found.isna().all() if fold is None else (found == fold).all()
