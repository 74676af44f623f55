"""A trained run applied to pictures: the same maps as its test's, one line for what cannot be done."""

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import write_mvtec
from localized import finished, said
from PIL import Image
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from small_runs import SMALL

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.deployment import localize_files
from anomaly_bench.deployment.applied import split_runs
from anomaly_bench.deployment.outputs import PICTURE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two seeds of a run on pictures of 24 pixels at that very size: their folders, and what the first one's test saw."""
    root = tmp_path_factory.mktemp("pictures")
    write_mvtec(root / "mvtec" / "tile")
    data = ["dataset=mvtec_ad", "dataset.category=tile", "dataset.split.holdout=0.3", f"dataset.root={root / 'mvtec'}"]
    given = [*data, f"out={root / 'runs'}", f"cache_dir={root / 'cache'}", *SMALL, "dataset.size=[24,24]"]
    first, seen = finished(load_config([*given, "localization.bits=20"]), root)
    second, _ = finished(load_config([*given, "localization.bits=20", "seed=1"]), root)
    return root / "mvtec", [first, second], seen


def test_a_picture_gets_the_map_that_the_test_saw(pictures, tmp_path):
    root, (folder, _), seen = pictures
    names = list(next(iter(seen.values()))[0])
    assert len(names) == 10
    inputs = [root / subject for subject, _ in seen]
    outcome = localize_files(folder, inputs, tmp_path, predictors=names)
    assert not outcome.problems
    assert len(outcome.done) == len(seen)
    for record, (maps, _) in zip(outcome.done, seen.values(), strict=True):
        for name in names:
            written = np.load(record["predictors"][name]["files"]["map.npy"])
            assert written.dtype == np.float32
            np.testing.assert_allclose(written, maps[name], rtol=0, atol=1e-6)


def test_a_long_picture_gets_the_maps_of_its_squares(tmp_path):
    root, rng = tmp_path / "Type-I RSDDs dataset", np.random.default_rng(0)
    for folder in ("Rail surface images", "GroundTruth"):
        (root / folder).mkdir(parents=True)
    for rail in range(12):
        pixels, mask = rng.integers(0, 256, (60, 24)), np.zeros((60, 24), np.uint8)
        mask[28:34, 4:9] = 255
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"Rail surface images/rail_{rail}.png")
        Image.fromarray(mask).save(root / f"GroundTruth/rail_{rail}.png")
    places = [f"dataset.root={tmp_path}", f"out={tmp_path / 'runs'}", f"cache_dir={tmp_path / 'cache'}"]
    folder, seen = finished(load_config(["dataset=rsdds", *places, *SMALL, "dataset.size=[24,24]"]), tmp_path)
    subject = next(iter(seen))[0]
    picture, mask = (
        tmp_path / subject.replace("Rail surface images", kind) for kind in ("Rail surface images", "GroundTruth")
    )
    outcome = localize_files(folder, picture, tmp_path / "maps", predictors=["rec_l1"], mask=mask)
    assert not outcome.problems
    found = outcome.done[0]["predictors"]["rec_l1"]
    first, second, last = (seen[subject, number][0]["rec_l1"].numpy() for number in range(3))  # from rows 0, 24 and 36
    expected = np.concatenate([first, second[:12], (second[12:] + last[:12]) / 2, last[12:]])
    np.testing.assert_allclose(np.load(found["files"]["map.npy"]), expected, rtol=0, atol=1e-6)
    assert found["image_score"] == pytest.approx(max(np.sort(one.ravel())[-6:].mean() for one in (first, second, last)))
    truth = np.asarray(Image.open(mask)) > 0
    assert found["metrics"]["auroc"] == pytest.approx(roc_auc_score(truth.ravel(), expected.ravel()), abs=1e-3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pictures_of_any_size_and_mode_get_maps_of_their_own_size_turned_as_they_are_shown(pictures, tmp_path, mode):
    _, (folder, _), _ = pictures
    array = np.full((31, 57, 4), 120, np.uint8)
    array[4:12, 40:50] = 255
    array[..., 3] = 255
    picture, exif = Image.fromarray(array).convert(mode), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    picture.save(tmp_path / "p.png", exif=exif)
    (record,) = localize_files(folder, tmp_path / "p.png", tmp_path / "maps", predictors=["intensity"]).done
    found = record["predictors"]["intensity"]
    raw = np.load(found["files"]["map.npy"])
    share = Image.open(found["files"]["calibrated.png"])
    assert raw.shape == (57, 31)
    assert (share.size, share.mode) == ((31, 57), "I;16")
    row, column = np.argwhere(raw >= raw.max() - 1e-3).mean(0)
    assert (abs(row - 44.5) < 1.5, abs(column - 22.5) < 1.5) == (True, True)
    segmentation = np.asarray(Image.open(found["files"]["segmentation.png"])) > 0
    np.testing.assert_array_equal(segmentation, raw >= np.float32(found["threshold"]))


def test_several_seeds_are_one_ensemble_of_calibrated_maps(pictures, tmp_path):
    root, folders, _ = pictures
    picture = root / "tile/test/square/000.png"
    outcome = localize_files(folders, picture, tmp_path / "both", predictors=["rec_l1"])
    shares = []
    for folder in folders:
        (record,) = localize_files(folder, picture, tmp_path / folder.name, predictors=["rec_l1"]).done
        files = record["predictors"]["rec_l1"]["files"]
        shares.append(np.asarray(Image.open(files["calibrated.png"])) / 65535)
    (record,) = outcome.done
    found = record["predictors"]["rec_l1"]
    joined = np.load(found["files"]["map.npy"])
    inside = np.all([(share > 0.2) & (share < 0.98) for share in shares], axis=0)
    assert inside.sum() > 50
    np.testing.assert_allclose(joined[inside], np.mean(norm.ppf(shares), axis=0)[inside], atol=5e-3)
    both = np.asarray(Image.open(found["files"]["calibrated.png"])) / 65535
    np.testing.assert_allclose(both, norm.cdf(joined), atol=1e-4)
    assert found["threshold"] == pytest.approx(norm.expect(lb=norm.isf(0.01), conditional=True))
    assert [run_["seed"] for run_ in record["runs"]] == [0, 1]


def test_bad_pictures_are_a_line_each_and_the_others_are_done(cli, pictures, tmp_path):
    root, (folder, _), _ = pictures
    good = root / "tile/test/square/000.png"
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (5, 9)).save(tmp_path / "small.png")
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(tmp_path / "wide.png")
    inputs = [tmp_path / "broken.png", tmp_path / "small.png", good, tmp_path / "gone.png", tmp_path / "wide.png"]
    lines = said(cli, folder, *inputs, "--out", tmp_path / "maps", "--predictor", "rec_l1", "--predictor", "grad_kl")
    assert len(lines) == 3
    for name, reason in (
        ("gone.png", "no such file"),
        ("broken.png", "cannot be read as a picture"),
        ("small.png", "has 9×5 pixels, the run's network sees 24×24; expected at least half as many"),
    ):
        assert any(name in line and reason in line for line in lines)
    written = {path.name for path in (tmp_path / "maps").iterdir()}
    ends = ("map.npy", "calibrated.png", "segmentation.png", "regions.csv", "overlay.png")
    expected = {f"{name}_{row}_{end}" for name in ("000", "wide") for row in ("rec_l1", "grad_kl") for end in ends}
    assert written == {*expected, "000.json", "wide.json", "summary.csv"}
    with (tmp_path / "maps/summary.csv").open() as stream:
        assert [(row["name"], row["predictor"]) for row in csv.DictReader(stream)] == [
            (name, row) for name in ("000", "wide") for row in ("rec_l1", "grad_kl")
        ]


def test_files_that_are_there_are_kept_without_overwrite(cli, pictures, tmp_path):
    root, (folder, _), _ = pictures
    one, two = (root / f"tile/test/square/{number:03d}.png" for number in (0, 1))
    given = ("--out", str(tmp_path), "--predictor", "intensity", "--no-overlay")
    assert cli("localize", str(folder), str(one), *given)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert tmp_path / "000_overlay.png" not in before
    (tmp_path / "000_map.npy").write_bytes(b"mine")
    (line,) = said(cli, folder, one, two, *given)
    assert "000.json: is there already, so that" in line
    assert (tmp_path / "000_map.npy").read_bytes() == b"mine"
    assert (tmp_path / "001.json").exists()
    code, out, _ = cli("localize", str(folder), str(one), *given, "--overwrite", "--json")
    assert code == 0
    assert (tmp_path / "000_map.npy").read_bytes() == before[tmp_path / "000_map.npy"]
    assert json.loads(out) == json.loads((tmp_path / "000.json").read_text())
    assert len((tmp_path / "summary.csv").read_text().splitlines()) == 3


def test_a_full_disk_is_one_line_and_leaves_no_half_written_input(cli, pictures, tmp_path, monkeypatch):
    root, (folder, _), _ = pictures

    def full(path, content):
        if path.name.startswith("000_calibrated"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, content)

    whole = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    inputs = [root / f"tile/test/square/{number:03d}.png" for number in (0, 1)]
    (line,) = said(cli, folder, *inputs, "--out", tmp_path, "--predictor", "intensity")
    assert f"{tmp_path}: the disk is full" in line
    assert line.count(str(inputs[0])) == 1
    assert {path.name.split("_")[0].split(".")[0] for path in tmp_path.iterdir()} == {"001", "summary"}


def test_runs_that_cannot_be_applied_are_one_line(cli, pictures, tmp_path):
    root, (first, _), _ = pictures
    picture = root / "tile/test/square/000.png"
    for name in ("unfinished", "other", "setting"):
        (tmp_path / name).mkdir()
        for file in first.iterdir():
            if file.is_file():
                (tmp_path / name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "unfinished/result.json").unlink()
    result = json.loads((first / "result.json").read_text()) | {"setting_id": "0" * 16}
    (tmp_path / "setting/result.json").write_text(json.dumps(result))
    checkpoint = torch.load(tmp_path / "other/model.ckpt", weights_only=True)
    checkpoint["state_dict"].popitem()
    torch.save(checkpoint, tmp_path / "other/model.ckpt")
    for runs, reason in (
        ([tmp_path / "unfinished"], "no finished run"),
        ([tmp_path / "other"], "model.ckpt: expected the model of a finished run"),
        ([tmp_path / "gone"], "gone"),
        ([first, tmp_path / "setting"], "its settings are not those of"),
        ([first, first], "same seed"),
    ):
        (line,) = said(cli, *runs, picture, "--out", tmp_path / "maps")
        assert reason in line
    (line,) = said(cli, first, picture, "--predictor", "rec_l9", "--out", tmp_path / "maps")
    assert "--predictor rec_l9: the run has no such row; did you mean rec_l" in line
    (tmp_path / "damaged").mkdir()
    for file in ("config.yaml", "result.json", "model.ckpt"):
        (tmp_path / "damaged" / file).write_bytes((first / file).read_bytes())
    (tmp_path / "damaged/calibration.npz").write_bytes(b"nothing")
    (line,) = said(cli, tmp_path / "damaged", picture, "--predictor", "rec_l1", "--out", tmp_path / "maps")
    assert "calibration.npz: cannot be read, it is damaged; repeat the run" in line
    (tmp_path / "damaged/model.ckpt").write_bytes(b"nothing")
    (line,) = said(cli, tmp_path / "damaged", picture, "--predictor", "rec_l1", "--out", tmp_path / "maps")
    assert "model.ckpt: expected the model of a finished run" in line
    assert "weights_only" not in line
    (line,) = said(cli, first, picture, "--device", "gpu9", "--out", tmp_path / "maps")
    assert "--device gpu9: cannot be used here" in line
    assert not (tmp_path / "maps").exists()


def test_the_default_predictor_is_the_best_on_validation_and_is_told(cli, pictures, tmp_path):
    root, (folder, _), _ = pictures
    result = json.loads((folder / "result.json").read_text())["predictors"]
    of_model = [name for name in result if name != "intensity"]
    best = max(of_model, key=lambda name: result[name]["validation"]["ap"]["value"])
    code, out, err = cli("localize", str(folder), str(root / "tile/test/square/000.png"), "--out", str(tmp_path))
    assert code == 0
    assert (
        f"note: predictor {best}: the best AP on validation of the run's 10 rows, but for those that use no model"
        in err
    )
    assert "higher than" in out
    assert list(json.loads((tmp_path / "000.json").read_text())["predictors"]) == [best]


def test_a_glob_of_runs_passes_over_the_ensemble_beside_them(pictures, tmp_path):
    _, (first, second), _ = pictures
    beside = first.parent / "tile-2seeds-mean-1"
    beside.mkdir()
    (beside / "result.json").write_text("{}")
    folders, inputs = split_runs([str(first.parent / "*"), "a.png", "b.png"])
    assert (sorted(folders), inputs) == (sorted([first, second]), ["a.png", "b.png"])
    assert split_runs([str(first), str(second), "a.png"]) == ([first, second], ["a.png"])
    (beside / "result.json").unlink()
    beside.rmdir()


def test_what_the_leaderboard_writes_among_runs_is_passed_over_and_nothing_else(pictures, tmp_path):
    _, (first, second), _ = pictures
    (tmp_path / "sweeps").mkdir()
    own = [tmp_path / name for name in ("categories.csv", "leaderboard.csv", "leaderboard.md", "sweeps")]
    other = tmp_path / "notes.csv"
    for path in (*own[:3], other):
        path.write_text("")
    spelled = [str(path) for path in (own[0], first, *own[1:3], second, own[3])]
    assert split_runs([*spelled, "a.png"]) == ([first, second], ["a.png"])
    with pytest.raises(ConfigError, match=r"notes.csv: lies among the runs, but is none"):
        split_runs([str(first), str(other), str(second), "a.png"])
    assert split_runs([str(first), str(other)]) == ([first], [str(other)])
    assert split_runs([str(own[3]), str(own[0])])[0] == [own[3]]


def test_to_overwrite_removes_what_the_earlier_call_has_written_of_the_input(pictures, tmp_path):
    root, (folder, _), _ = pictures
    one, two = (root / f"tile/test/square/{number:03d}.png" for number in (0, 1))
    localize_files(folder, [one, two], tmp_path, predictors=["rec_l1", "rec_l2"])
    (tmp_path / "000_notes.txt").write_text("mine")
    localize_files(folder, one, tmp_path, predictors=["intensity"], overlay=False, overwrite=True)
    left = sorted(path.name for path in tmp_path.glob("000*"))
    assert left == ["000.json", *(f"000_{end}" for end in sorted(["notes.txt", *PICTURE]))]
    assert len(list(tmp_path.glob("001*"))) == 11
    with (tmp_path / "summary.csv").open() as stream:
        rows = [(row["name"], row["predictor"]) for row in csv.DictReader(stream)]
    assert rows == [("001", "rec_l1"), ("001", "rec_l2"), ("000", "intensity")]


def test_inputs_without_a_mask_are_told_and_have_no_metrics(cli, pictures, tmp_path):
    root, (folder, _), _ = pictures
    inputs = [root / "tile/test/square/000.png", *(root / f"tile/test/good/00{number}.png" for number in range(4))]
    given = (
        "--mask",
        str(root / "tile/ground_truth"),
        "--predictor",
        "intensity",
        "--no-overlay",
        "--out",
        str(tmp_path),
    )
    code, _, err = cli("localize", str(folder), *map(str, inputs), *given)
    assert code == 0
    (note,) = [line for line in err.splitlines() if "mask" in line]
    first = ", ".join(map(str, inputs[1:4]))
    assert note == f"note: 4 of 5 inputs have no mask, and so no metrics: {first} and 1 more"
    metrics = [
        json.loads((tmp_path / f"{name}.json").read_text())["predictors"]["intensity"]["metrics"]
        for name in ("square_000", "good_000")
    ]
    assert [one is not None for one in metrics] == [True, False]
