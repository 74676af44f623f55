"""`anomaly-bench score` on maps and masks in every format, against scikit-learn on their pixels."""

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.cli.results import score as verb
from anomaly_bench.scoring.score import score
from data_modules.base.errors import DataError

Write = Callable[[Path, np.ndarray], None]


def picture(seed: int, planes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores in whole numbers of 0 to 255 and a mask, (planes, 20, 24)."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((planes, 20, 24), dtype=bool)
    mask[:, 4:9, 5 : 8 + seed % 5] = True
    return (rng.normal(100, 20, mask.shape) + 30 * mask).round().clip(0, 255), mask


def save(path: Path, values: np.ndarray) -> None:
    """Write (planes, H, W) as the ending of the path says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        data = values.astype(np.float32) if len(values) > 1 else values[0].astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(np.moveaxis(data, 0, -1) if len(values) > 1 else data, np.eye(4)), path)
    elif path.suffix == ".npy":
        np.save(path, values if len(values) > 1 else values[0])
    elif path.suffix == ".npz":
        np.savez_compressed(path, values[:, None])
    elif path.suffix in (".tif", ".tiff"):
        Image.fromarray(values[0].astype(np.float32)).save(path)
    else:
        Image.fromarray(values[0].astype(np.uint8)).save(path)


def fill(root: Path, map_name: str, mask_name: str, count: int = 6, planes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """`count` maps and masks named by patterns of {k}; all scores and all labels."""
    pairs = [picture(k, planes) for k in range(count)]
    for k, (scores, mask) in enumerate(pairs):
        save(root / "maps" / map_name.format(k=k), scores)
        save(root / "masks" / mask_name.format(k=k), mask * 255)
    return tuple(np.concatenate([pair[part].ravel() for pair in pairs]) for part in (0, 1))


@pytest.mark.parametrize(
    ("map_name", "mask_name", "planes"),
    [
        ("{k}.npy", "{k}.png", 1),
        ("{k}_anomaly_map.npz", "{k}_mask.png", 3),
        ("{k}.png", "{k}.png", 1),
        ("crack/{k}.tiff", "crack/{k}_mask.png", 1),
        ("deep/folder/{k}.tif", "{k}_gt.bmp", 1),
        ("{k}.nii.gz", "{k}_seg.nii", 5),
        ("{k}.nii", "{k}.nii.gz", 1),
    ],
)
def test_every_format_and_naming_equals_scikit_learn(
    tmp_path: Path, map_name: str, mask_name: str, planes: int
) -> None:
    if ".png" in mask_name and planes > 1:
        mask_name = mask_name.replace(".png", ".npy")
    scores, labels = fill(tmp_path, map_name, mask_name, planes=planes)
    report = score(tmp_path / "maps", tmp_path / "masks", resamples=20)
    assert report.metrics["auroc"].value == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert report.metrics["ap"].value == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    assert report.counts == {
        "files": 6,
        "subjects": 6,
        "images": 6 * planes,
        "anomalous_images": 6 * planes,
        "pixels": len(labels),
        "anomalous_pixels": int(labels.sum()),
        "anomalous_outside": 0,
    }
    low, high = report.intervals["auroc"]
    assert low < report.metrics["auroc"].value < high
    assert (report.metrics["dice"], report.threshold, report.lesions) == (None, None, [])


def test_sixteen_bit_pictures_keep_their_range(tmp_path: Path) -> None:
    scores, mask = picture(0)
    (tmp_path / "maps").mkdir()
    Image.fromarray((scores[0] * 256 + 3).astype(np.uint16)).save(tmp_path / "maps/a.png")
    save(tmp_path / "masks/a.png", mask * 1)
    report = score(tmp_path / "maps", tmp_path / "masks")
    assert report.metrics["auroc"].value == pytest.approx(roc_auc_score(mask.ravel(), scores.ravel()), abs=1e-9)


@pytest.mark.parametrize("exact", [False, True])
def test_the_foreground_the_threshold_and_the_lesions(tmp_path: Path, exact: bool) -> None:
    fill(tmp_path, "{k}.npy", "{k}.png")
    calm = []
    for k in range(6):
        inside = np.zeros((1, 20, 24))
        inside[:, :, 2:20] = 1
        save(tmp_path / "brains" / f"{k}.png", inside)
        scores = np.load(tmp_path / f"maps/{k}.npy").astype(np.float32)
        scores[:, 21] = np.nan
        np.save(tmp_path / f"maps/{k}.npy", scores)
        normal, _ = picture(50 + k)
        normal = np.where(picture(50 + k)[1], 100, normal)
        save(tmp_path / "calm" / f"{k}.npy", normal)
        calm.append(normal[:, :, 2:20])
    report = score(tmp_path / "maps", tmp_path / "masks", tmp_path / "brains", tmp_path / "calm", fpr=0.1, exact=exact)
    level = np.sort(np.concatenate(calm).ravel())[::-1][int(0.1 * np.size(calm))]
    kept = [(np.load(tmp_path / f"maps/{k}.npy")[:, 2:20], picture(k)[1][0, :, 2:20]) for k in range(6)]
    scores, labels = (np.array([pair[part] for pair in kept]) for part in (0, 1))
    called = scores > level
    dice = 2 * (called & labels).sum() / (called.sum() + labels.sum())
    assert report.metrics["dice"] == pytest.approx([dice] * 3)
    assert report.metrics["iou"].value == pytest.approx(dice / (2 - dice))
    assert level < report.threshold <= level + 1
    assert report.counts["pixels"] == labels.size
    found = sum(called[k][labels[k]].mean() >= 0.5 for k in range(6))
    assert report.lesions[1] == {"smallest": 10, "largest": 99, "lesions": 6, "detected": found}
    assert report.metrics["auroc"].value == pytest.approx(roc_auc_score(labels.ravel(), scores.ravel()), abs=1e-9)
    if exact:
        assert report.metrics["auroc"].low == report.metrics["auroc"].high


def test_subjects_are_found_in_the_path(tmp_path: Path) -> None:
    fill(tmp_path, "sub-{k}_a/x{k}.npy", "sub-{k}_a/x{k}.png", 4)
    fill(tmp_path, "sub-{k}_b/y{k}.npy", "sub-{k}_b/y{k}.png", 4)
    report = score(tmp_path / "maps", tmp_path / "masks", per_subject="(sub-[0-9]+)_")
    assert [(row["subject"], row["images"]) for row in report.subjects] == [(f"sub-{k}", 2) for k in range(4)]
    whole = score(tmp_path / "maps", tmp_path / "masks", per_subject="sub-[0-9]+_[ab]")
    assert [row["subject"] for row in whole.subjects] == [f"sub-{k}_{letter}" for k in range(4) for letter in "ab"]
    with pytest.raises(DataError, match=r"finds no subject in .*x0\.npy.*\(8 in all\)"):
        score(tmp_path / "maps", tmp_path / "masks", per_subject="patient")
    with pytest.raises(ConfigError, match="no regular expression"):
        score(tmp_path / "maps", tmp_path / "masks", per_subject="(")


def test_a_map_without_a_mask_is_normal_only_if_said_so(tmp_path: Path) -> None:
    scores, labels = fill(tmp_path, "crack/{k}.npy", "crack/{k}_mask.png", 3)
    extra = [picture(10 + k)[0] for k in range(2)]
    for k, values in enumerate(extra):
        save(tmp_path / "maps/good" / f"{k}.npy", values)
    with pytest.raises(DataError, match=r"2 maps without a mask: .*good/0\.npy, .*good/1\.npy.*--normal"):
        score(tmp_path / "maps", tmp_path / "masks")
    expected = roc_auc_score(
        np.append(labels, np.zeros(2 * 480)), np.append(scores, np.concatenate([e.ravel() for e in extra]))
    )
    for said in ({"normal": ["good/*"]}, {"missing_normal": True}):
        report = score(tmp_path / "maps", tmp_path / "masks", **said)
        assert report.metrics["auroc"].value == pytest.approx(expected, abs=1e-9)
        assert report.counts["files"] == 5
    save(tmp_path / "masks/lost.png", np.zeros((1, 20, 24)))
    with pytest.raises(DataError, match=r"1 mask without a map: .*lost\.png"):
        score(tmp_path / "maps", tmp_path / "masks", missing_normal=True)
    with pytest.raises(DataError, match="maps without a foreground"):
        score(tmp_path / "maps", tmp_path / "masks", tmp_path / "masks/crack", missing_normal=True)


def broken(kind: str, root: Path) -> str:
    """Spoil one file; what the message has to say."""
    victim = root / "maps/1.npy"
    if kind == "nan":
        values = np.load(victim).astype(np.float32)
        values[3, 4] = np.nan
        np.save(victim, values)
        return r"maps/1\.npy: holds 1 NaN, the first in plane 0 at row 3, column 4"
    if kind == "size":
        np.save(victim, np.zeros((5, 5)))
        return r"masks/1\.png: is 1×20×24, and its map .*1\.npy is 1×5×5"
    if kind == "damaged":
        victim.write_bytes(b"no numbers")
        return r"maps/1\.npy: cannot be read"
    if kind == "objects":
        np.save(victim, np.array([["a", "b"]]))
        return r"maps/1\.npy: holds <U1 values"
    if kind == "shape":
        np.save(victim, np.zeros((2, 3, 20, 24)))
        return r"maps/1\.npy: has shape \(2, 3, 20, 24\)"
    if kind == "several":
        victim.unlink()
        np.savez(root / "maps/1.npz", a=np.zeros(3), b=np.zeros(3))
        return r"maps/1\.npz: holds the arrays \['a', 'b'\]"
    if kind == "coloured":
        victim.unlink()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(
            root / "maps/1.png"
        )
        return r"maps/1\.png: is a coloured picture"
    if kind == "twice":
        save(root / "maps/1.png", np.zeros((1, 20, 24)))
        return r"maps/1\.png and .*maps/1\.npy have one name, '1'"
    for path in (root / "masks").iterdir():
        path.unlink()
    return r"--masks .*masks: expected files that end in .*found no file at all"


@pytest.mark.parametrize(
    "kind", ["nan", "size", "damaged", "objects", "shape", "several", "coloured", "twice", "no masks"]
)
def test_what_cannot_be_scored_is_named(tmp_path: Path, kind: str) -> None:
    fill(tmp_path, "{k}.npy", "{k}.png", 3)
    said = broken(kind, tmp_path)
    with pytest.raises(DataError, match=said):
        score(tmp_path / "maps", tmp_path / "masks")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="check the path after --maps"):
        score(tmp_path / "maps", tmp_path / "masks")


def call(*arguments: object) -> int:
    """The verb alone."""
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.call(parser.parse_args([*map(str, arguments)]))


def test_the_verb_prints_a_table_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, labels = fill(tmp_path, "{k}.npy", "{k}.png")
    save(tmp_path / "calm/0.npy", picture(70)[0])
    arguments = ["--maps", tmp_path / "maps", "--masks", tmp_path / "masks", "--normal-maps", tmp_path / "calm"]
    assert call(*arguments, "--json", tmp_path / "out/s.json", "--csv", tmp_path / "out/s.csv") == 0
    shown = capsys.readouterr().out
    expected = roc_auc_score(labels, scores)
    for word in (
        "6 maps",
        "auroc",
        f"{expected:.4f}",
        "fpr95",
        "lesion size",
        "10-99",
        "found on the normal maps: score >= ",
    ):
        assert word in shown
    document = json.loads((tmp_path / "out/s.json").read_text())
    assert document["metrics"]["auroc"]["value"] == pytest.approx(expected, abs=1e-9)
    assert document["counts"]["files"] == len(document["subjects"]) == 6
    with (tmp_path / "out/s.csv").open() as stream:
        rows = {row["metric"]: row for row in csv.DictReader(stream)}
    assert float(rows["ap"]["value"]) == document["metrics"]["ap"]["value"]
    assert rows["fpr95"]["ci_low"] == ""
    with pytest.raises(ConfigError, match=r"s\.json: is there already; .*--overwrite"):
        call(*arguments, "--json", tmp_path / "out/s.json")
    with pytest.raises(ConfigError, match=r"s\.csv: is the file of --json too"):
        call(*arguments, "--json", tmp_path / "s.csv", "--csv", tmp_path / "s.csv")
    assert call(*arguments[:4], "--resamples", 0, "--json", tmp_path / "out/s.json", "--overwrite") == 0
    assert json.loads((tmp_path / "out/s.json").read_text())["settings"]["resamples"] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["s.csv", "s.json"]
    assert "--normal-maps" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"fpr: expected a share in \(0, 1\], got 1\.5"):
        call(*arguments, "--fpr", 1.5)


def test_a_map_is_never_scored_with_the_mask_of_another_folder(tmp_path: Path) -> None:
    scores, mask = picture(0)
    for name in ("good/005", "bad/001"):
        save(tmp_path / f"maps/{name}.npy", scores)
    for name in ("bad/005", "bad/001"):
        save(tmp_path / f"masks/{name}_mask.npy", mask)
    with pytest.raises(DataError, match=r"1 mask without a map: \S*bad/005_mask\.npy"):
        score(tmp_path / "maps", tmp_path / "masks", normal=["good/*"], resamples=0)


def test_a_mask_in_the_transparency_is_refused(tmp_path: Path) -> None:
    scores, mask = picture(0)
    save(tmp_path / "maps/a.npy", scores)
    (tmp_path / "masks").mkdir()
    alpha = np.zeros((*mask.shape[-2:], 4), np.uint8)
    alpha[..., 3] = mask.reshape(mask.shape[-2:]) * 255
    Image.fromarray(alpha).save(tmp_path / "masks/a.png")
    with pytest.raises(DataError, match=r"a\.png: a mask that is black, and differs in transparency alone"):
        score(tmp_path / "maps", tmp_path / "masks", resamples=0)


def test_a_subject_has_to_be_found_by_the_parentheses(tmp_path: Path) -> None:
    scores, mask = picture(0)
    for name in ("a1", "a2"):
        save(tmp_path / f"maps/{name}.npy", scores)
        save(tmp_path / f"masks/{name}.npy", mask)
    with pytest.raises(DataError, match=r"finds no subject in \S*a2\.npy"):
        score(tmp_path / "maps", tmp_path / "masks", per_subject="(a1)|a2", resamples=0)
