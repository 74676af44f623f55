"""Small datasets on disk, in the real layouts, for the real readers; and what may be skipped."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import brain, write_mvtec, write_volume
from small_results import result
from small_runs import SMALL

os.environ.setdefault("WANDB_MODE", "offline")

# How the reasons begin for which a test may be skipped with --no-skips, or where CI is set; for any other it fails.
MAY_BE_SKIPPED = (
    "engine=slurm is not tested",  # scripts/slurm_test.sh runs them, on a SLURM of its own
    "only root can mount a disk",  # what a runner lacks that is not root is a right, not a tool
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", default=bool(os.environ.get("CI")), help="a skipped test fails")


def _failed_if_skipped(report: Any, config: pytest.Config) -> Any:
    """The report; a skip that is not allowed is made a failure, except for an expected failure."""
    if config.getoption("--no-skips") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(MAY_BE_SKIPPED):
            report.outcome, report.longrepr = "failed", f"{report.nodeid} was skipped, and must not be here: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, subprocess.CalledProcessError):
        report.sections.append(("what the command said", str(call.excinfo.value.stderr)))
    return _failed_if_skipped(report, item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_skipped((yield), collector.config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: several processes then end with small ones, and at the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def little_to_collect() -> None:
    """Frees garbage, then takes what is left of imports and earlier files, millions of objects, out of each later collection.

    The localization collects garbage four times a run.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("ANOMALY_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def brats_root(tmp_path: Path) -> Path:
    """Eight subjects in the BraTS 2021 layout."""
    root = tmp_path / "brats"
    for index in range(8):
        subject = f"BraTS2021_{index:05d}"
        volume, label = brain(index)
        write_volume(root / subject / f"{subject}_flair.nii.gz", volume)
        write_volume(root / subject / f"{subject}_seg.nii.gz", label)
    return root


@pytest.fixture
def mvtec_root(tmp_path: Path) -> Path:
    """One category in the MVTec AD layout: stripes of 24×24 pixels, a bright square as defect."""
    root = tmp_path / "mvtec"
    write_mvtec(root / "tile")
    return root


@pytest.fixture
def pictures_run(mvtec_root: Path, cache: Path, tmp_path: Path) -> list[str]:
    """Overrides of a run on the small pictures that takes about a second."""
    return [
        "dataset=mvtec_ad",
        "dataset.category=tile",
        "dataset.split.holdout=0.3",
        f"dataset.root={mvtec_root}",
        f"out={tmp_path / 'runs'}",
        *SMALL,
    ]


@pytest.fixture
def volumes_run(brats_root: Path, cache: Path, tmp_path: Path) -> list[str]:
    """Overrides of a run on the small volumes that takes about a second."""
    split = ["dataset.split.val=0.3", "dataset.split.test=0.3", "dataset.split.salt=b"]
    return [
        "dataset=brats",
        f"dataset.root={brats_root}",
        "dataset.slice_step=1",
        f"out={tmp_path / 'runs'}",
        *split,
        *SMALL,
    ]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls the command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        from anomaly_bench.cli.main import main

        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Any]:
    """A function from seed, {predictor: value of all its metrics, or a dict} and changed fields to a valid result."""
    return result
