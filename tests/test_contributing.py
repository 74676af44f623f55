"""CONTRIBUTING.md names every room, and its predictor, model and datasets of one's own work outside the checkout."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from checkout import ROOT
from fakes import brain, write_volume
from PIL import Image

from leaderboard.record import read_result

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(#.*?name: (\w+)\n.*?)```", TEXT, re.DOTALL)
CLASSES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^PYTHONPATH=\. anomaly-bench run (.*)$", TEXT, re.MULTILINE)


def write_my_cohort(root):
    for index in range(6):
        volume, label = brain(index)
        write_volume(root / f"s{index}/anat/s{index}_FLAIR.nii.gz", volume)
        write_volume(root / f"s{index}/anat/s{index}_lesion.nii.gz", label)


def write_my_pictures(root):
    for folder in ("ok", "broken", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 200, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"ok/{index}.png")
        mask = np.zeros((24, 24), np.uint8)
        mask[4:9, 4:9] = 255
        Image.fromarray(np.maximum(pixels, mask[..., None])).save(root / f"broken/b{index}.png")
        Image.fromarray(mask).save(root / f"masks/b{index}.png")


@pytest.mark.parametrize("package", ["anomaly_bench", "data_modules", "leaderboard"])
def test_the_house_has_every_room_and_no_other(package):
    column = {"anomaly_bench": 1, "data_modules": 2, "leaderboard": 3}[package]
    rows = [line.split("|")[column] for line in TEXT.splitlines() if line.startswith("| ")]
    named = {name for cell in rows for name in re.findall(r"`(\w+)`", cell.split(":")[0])}
    rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert named == rooms


@pytest.mark.parametrize(("text", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
def test_a_dataset_of_ones_own_is_under_25_lines_and_is_read(text, name, cli, cache, tmp_path):
    assert len(text.splitlines()) < 25
    (tmp_path / "configs/dataset").mkdir(parents=True)
    (tmp_path / f"configs/dataset/{name}.yaml").write_text(text)
    {"my_cohort": write_my_cohort, "my_pictures": write_my_pictures}[name](tmp_path / "data")
    settings = [
        f"dataset={name}",
        f"dataset.root={tmp_path / 'data'}",
        "dataset.size=[16,16]",
        "dataset.split.salt=anomaly_bench 2",
    ]
    code, out, err = cli("data", "verify", *settings, "--config-dir", str(tmp_path / "configs"))
    assert code == 0, out + err
    assert out.startswith(f"{name} in ")


def test_both_kinds_of_dataset_are_shown():
    assert {name for _, name in EXAMPLES} == {"my_cohort", "my_pictures"}


@pytest.mark.slow
def test_a_predictor_and_a_model_of_ones_own_are_under_25_lines_and_run(pictures_run, tmp_path):
    assert [re.findall(r"^class (\w+)", code, re.MULTILINE) for code in CLASSES] == [["SquaredGradient"], ["MyVAE"]]
    assert max(len(code.splitlines()) for code in CLASSES) < 25
    (tmp_path / "work").mkdir()
    (tmp_path / "work/my_package.py").write_text("\n\n".join(CLASSES))
    predictor, model = map(shlex.split, COMMANDS)
    command = [sys.executable, "-m", "anomaly_bench", "run", *predictor, *model, *pictures_run]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path / "work",
        env=os.environ | {"PYTHONPATH": "."},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs").glob("*/result.json")
    result = read_result(path)
    assert result.model == "free_bits"
    assert set(result.predictors) == {"own", "grad_elbo"}
