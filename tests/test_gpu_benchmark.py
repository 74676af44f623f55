"""The script for whoever has a GPU works without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/gpu.py", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    environment.pop(
        "PYTHONSAFEPATH", None
    )  # as a verb of another test may have left it: scripts import their neighbours
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_its_figures_are_printed_and_nothing_is_wanted_of_them_on_a_cpu():
    done = script("--device", "cpu", "--small", "--only", "metrics", "--only", "predictors")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [
        "a CPU",
        "pixels per second counted",
        "all maps of predictors=fast by the passes they need",
    ]
    assert "goal" not in done.stdout
    assert all(float(line.rpartition(":")[2]) > 0 for line in lines[1:])
