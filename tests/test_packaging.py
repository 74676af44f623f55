"""The installed package works outside a checkout; the README's commands are real."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from checkout import ROOT
from small_runs import SMALL

from anomaly_bench.config.load import load_config

pytestmark = pytest.mark.slow

SHORT = "max_epochs=1, limit_train_batches=2, limit_val_batches=1, limit_test_batches=1"
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked where nothing else of the project is."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_carries_configs_assets_and_notices(installed):
    for name in (
        "anomaly_bench/configs/config.yaml",
        "anomaly_bench/configs/dataset/brats.yaml",
        "leaderboard/py.typed",
    ):
        assert (installed / name).exists(), name
    assert list(installed.glob("data_modules/assets/*.nii.gz"))
    assert list(installed.glob("data_modules/assets/*NOTICE*"))
    assert list(installed.glob("leaderboard/baselines/*.json"))
    assert not (installed / "tests").exists()


def test_an_installed_package_runs_outside_the_checkout(installed, tmp_path, mvtec_root):
    small = [*SMALL, "dataset.split.holdout=0.3"]
    command = [
        sys.executable,
        "-m",
        "anomaly_bench",
        "run",
        "dataset=mvtec_ad",
        "dataset.category=tile",
        f"dataset.root={mvtec_root}",
    ]
    code = "import anomaly_bench, sys; sys.exit(not anomaly_bench.__file__.startswith(sys.argv[1]))"
    environment = os.environ | {"PYTHONPATH": str(installed), "ANOMALY_BENCH_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code, str(installed)], cwd=tmp_path, env=environment, check=True)
    done = subprocess.run(
        [*command, *small], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ensemble_probit" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path != mvtec_root) == ["cache", "runs"]
    (folder,) = (tmp_path / "runs").glob("mvtec_ad_tile-*")
    picture = next(mvtec_root.glob("tile/test/good/*.png"))
    localize = [sys.executable, "-m", "anomaly_bench", "localize", str(folder), str(picture), "--predictor", "rec_l1"]
    done = subprocess.run(localize, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "maps").rglob(f"*{picture.stem}*.json"))


def test_the_readmes_python_runs_outside_the_checkout(installed, tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = script.replace("max_epochs=30", SHORT).replace("beta=4)", "beta=4, channels=(4, 8))")
    (tmp_path / "script.py").write_text(script + "\nprint(localization.table().index)")
    environment = os.environ | {"PYTHONPATH": str(installed), "ANOMALY_BENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "['rec_l1', 'grad_kl', 'projection', 'ensemble_probit']" in done.stdout


def test_make_help_lists_every_target():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(targets) > 8
    assert all(re.search(rf"^{target}\s", listed, re.MULTILINE) for target in targets)


def commands(pattern: str) -> list[str]:
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(pattern, line)]


@pytest.mark.parametrize("line", commands("make bench"))
def test_every_make_bench_of_the_readme_composes(line):
    """What make would run is composed; the sweep itself is run by `make bench` and the tests of the command line."""
    dry = subprocess.run(
        [*line.split(), "--dry-run", "-o", ".venv/.ready"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (command,) = [text for text in dry.stdout.splitlines() if "anomaly-bench bench" in text]
    shell = command.replace(".venv/bin/anomaly-bench bench", f"{sys.executable} -m anomaly_bench bench --cfg")
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    documents = list(yaml.safe_load_all(done.stdout))
    assert documents
    assert all("dataset" in document for document in documents)


@pytest.mark.parametrize("line", commands("anomaly-bench"))
def test_every_anomaly_bench_command_of_the_readme_is_understood(line):
    verb, *rest = line.split()[1:]
    known = subprocess.run(
        [sys.executable, "-m", "anomaly_bench", verb, "--help"], capture_output=True, text=True, check=False
    )
    assert known.returncode == 0
    for option in (word for word in rest if word.startswith("--")):
        assert option in known.stdout
    if verb == "run":
        load_config([word for word in rest if "=" in word and not word.startswith("--")])


def test_the_readme_has_commands_and_stays_short():
    assert commands("make bench")
    assert commands("make test")
    assert len(README.splitlines()) < 150
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_no_absolute_path_of_a_machine_is_in_the_project():
    rooms = ("anomaly_bench", "benchmarks", "configs", "data_modules", "docs", "leaderboard", "scripts", "tests")
    files = [path for room in rooms for path in (ROOT / room).rglob("*")] + list(ROOT.glob("*"))
    texts = [path for path in files if path.suffix in (".py", ".md", ".yaml", ".toml", ".json", ".txt", ".cff", ".sh")]
    assert len(texts) > 80
    for path in texts:
        assert not re.search(r"/(home|Users)/[a-z]+/", path.read_text()), path
