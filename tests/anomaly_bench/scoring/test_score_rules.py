"""What counts in `anomaly-bench score`, what it refuses, and that docs/score.md says commands that run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import ROOT

from anomaly_bench.cli.main import main
from anomaly_bench.localization.tallies.tally import Tally
from anomaly_bench.metrics import LocalizationCurve, find_regions
from anomaly_bench.scoring.score import ScoreReport, score
from data_modules.base.errors import DataError

PAGE = (ROOT / "docs/score.md").read_text()


def trees(root: Path, count: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps, masks and foregrounds of single planes, on disk and stacked; foreground 0 leaves a whole anomaly out."""
    rng = np.random.default_rng(3)
    mask = np.zeros((count, 20, 24), bool)
    mask[: count - 1, 4:9, 5:9] = True
    inside = np.ones_like(mask)
    inside[0, :10] = False
    maps = (rng.normal(size=mask.shape) + mask).astype(np.float32)
    for folder, stack in (("maps", maps), ("masks", mask), ("inside", inside)):
        (root / folder).mkdir()
        for k, plane in enumerate(stack):
            np.save(root / folder / f"{k}.npy", plane)
    (root / "calm").mkdir()
    np.save(root / "calm/a.npy", rng.normal(size=(20, 24)).astype(np.float32))
    np.save(root / "inside/a.npy", np.ones((20, 24), bool))
    return maps, mask, inside


def scored(root: Path, **how) -> ScoreReport:
    return score(root / "maps", root / "masks", resamples=0, **how)


def test_the_same_counts_as_in_a_run(tmp_path: Path) -> None:
    """A run's foreground contains its mask; what a file's mask has beyond its foreground counts nowhere."""
    maps, mask, inside = trees(tmp_path)
    report = scored(tmp_path, foreground=tmp_path / "inside", normal_maps=tmp_path / "calm")
    calm = torch.from_numpy(np.load(tmp_path / "calm/a.npy"))[None, None]
    curve = LocalizationCurve()
    curve.update(calm, torch.zeros_like(calm, dtype=torch.bool))
    threshold = curve.threshold_at_fpr(0.05)
    tally = Tally("any", LocalizationCurve(pivot=float(curve.pivot)), 0.01, threshold, per_subject=True)
    scores, cut, foreground = (torch.from_numpy(part)[:, None] for part in (maps, mask & inside, inside))
    weight, ids = torch.from_numpy(1 / 20 * (mask & inside)[:, None]).float(), torch.arange(6)
    batch = {"mask": cut, "foreground": foreground, "region_weight": weight, "subject": ids, "slice": ids * 0}
    tally.update(scores, 0.0, batch, find_regions(cut))
    expected = {name: (one.value, one.low, one.high) for name, one in tally.measures().items()}
    assert report.metrics.keys() == expected.keys()
    for name, values in expected.items():
        assert report.metrics[name] == pytest.approx(values), name
    assert report.lesions == tally.lesions.rows()
    assert (report.counts["anomalous_images"], report.counts["anomalous_outside"]) == (4, 20)


@pytest.mark.parametrize("exact", [False, True])
def test_the_thresholds_give_the_dice(tmp_path: Path, exact: bool) -> None:
    maps, mask, _ = trees(tmp_path)
    report = scored(tmp_path, normal_maps=tmp_path / "calm", exact=exact)
    for name, threshold in (("dice", report.threshold), ("dice_oracle", report.oracle_threshold)):
        called = maps >= float(np.float32(str(np.float32(threshold))))
        dice = 2 * (called & mask).sum() / (called.sum() + mask.sum())
        assert report.metrics[name].low - 1e-12 <= dice <= report.metrics[name].high + 1e-12
        assert name == "dice_oracle" or dice == pytest.approx(report.metrics[name].value, abs=1e-12)


def test_no_foreground_is_an_error_that_names_it(tmp_path: Path) -> None:
    trees(tmp_path)
    np.save(tmp_path / "inside/2.npy", np.zeros((20, 24), bool))
    with pytest.raises(DataError, match=r"inside/2\.npy: no pixel is set.*leave \S*maps/2\.npy out"):
        scored(tmp_path, foreground=tmp_path / "inside")


@pytest.mark.parametrize(("value", "said"), [(0, "no pixel that counts"), (1, "every pixel that counts")])
def test_masks_of_one_kind_cannot_be_scored(tmp_path: Path, value: int, said: str) -> None:
    trees(tmp_path)
    for k in range(6):
        np.save(tmp_path / f"masks/{k}.npy", np.full((20, 24), value))
    with pytest.raises(DataError, match=rf"--masks \S*masks: {said} is anomalous"):
        scored(tmp_path, mask_threshold=0)


def test_infinite_and_constant_scores(tmp_path: Path) -> None:
    _, mask, _ = trees(tmp_path)
    np.save(tmp_path / "maps/0.npy", np.full((20, 24), np.inf))
    np.save(tmp_path / "maps/1.npy", np.full((20, 24), 0.5))
    np.save(tmp_path / "maps/2.npy", np.where(mask[2], np.inf, -np.inf))
    assert 0.5 < scored(tmp_path).metrics["auroc"].value < 1
    np.save(tmp_path / "maps/2.npy", np.where(np.arange(480).reshape(20, 24) < 2, np.inf, -np.inf))
    np.save(tmp_path / "maps/3.npy", np.full((20, 24), 1e300))
    with pytest.raises(DataError) as caught:
        scored(tmp_path)
    assert re.search(r"2 problems:\n- \S*2\.npy: has both \+inf and -inf .*\n- \S*3\.npy: .* beyond", str(caught.value))


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees(tmp_path)
    command = ["score", "--maps", str(tmp_path / "maps"), "--masks", str(tmp_path / "masks")]
    assert main([*command, "--normal-maps", str(tmp_path / "gone"), "--foreground", str(tmp_path / "lost")]) == 2
    said = capsys.readouterr().err
    assert "gone: is no folder; check the path after --normal-maps" in said
    assert "lost: is no folder; check the path after --foreground" in said
    assert main([*command, "--normal-maps", str(tmp_path / "maps")]) == 2
    assert "6 of these maps lie in --maps too" in capsys.readouterr().err
    (tmp_path / "maps/0.npy").rename(tmp_path / "maps/Scan.npy")
    (tmp_path / "masks/0.npy").rename(tmp_path / "masks/scan_GT.npy")
    assert main(command) == 2
    assert "the nearest mask to Scan is" in (said := capsys.readouterr().err)
    assert "1 mask without a map" in said
    (tmp_path / "masks/scan_GT.npy").rename(tmp_path / "masks/Scan_GT.npy")
    for k in (1, 2):
        path = tmp_path / f"maps/{k}.npy"
        path.write_bytes(path.read_bytes()[:300])
    (tmp_path / "masks/3.npy").write_bytes(b"")
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("anomaly-bench: 3 problems:\n")
    assert all(re.search(rf"{name}\.npy: cannot be read", said) for name in ("maps/1", "maps/2", "masks/3"))
    for path in (tmp_path / "maps").iterdir():
        path.rename(path.with_suffix(".pkl"))
    assert main(command) == 2
    assert "expected files that end in .nii, .nii.gz, .npy" in (said := capsys.readouterr().err)
    assert "found 6 .pkl" in said


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    make, read = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(make, {})
    exec(read, {})
    assert "Certified(value=0.9" in capsys.readouterr().out
    for kind in ("good", "crack"):
        (tmp_path / "out/test" / kind).mkdir(parents=True)
    (tmp_path / "bottle/ground_truth/crack").mkdir(parents=True)
    (tmp_path / "brains").mkdir()
    for k in range(8):
        name = f"sub-{k // 2}_{k}.npy"
        np.save(tmp_path / "brains" / name, np.ones((64, 64), bool))
        values, kind = np.load(tmp_path / "maps" / name), "crack" if k % 4 else "good"
        np.save(tmp_path / f"out/test/{kind}/{k:03d}.npy", values)
        if k % 4:
            np.save(tmp_path / f"bottle/ground_truth/crack/{k:03d}_mask.npy", np.load(tmp_path / "masks" / name))
    commands = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 4
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
        shown = capsys.readouterr().out
        assert re.search(r"auroc +│ 0\.9\d{3} │ 0\.9\d{3}-0\.9\d{3} │ +0\.\d{4}-0\.\d{4}", shown)
        assert max(map(len, shown.splitlines())) <= 80
    assert len(PAGE.splitlines()) < 90
