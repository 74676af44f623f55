"""`make setup` where no package index has CPU builds: the plain torch, and a word about its size."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

PYTHON = """#!/bin/sh
echo "$@" >> asked
case "$*" in *"import torch"*) exit 1 ;; *+cpu*) exit {cpu} ;; *"constraints.txt torch") exit {plain} ;; esac
"""


@pytest.mark.parametrize(
    ("cpu", "plain", "code", "said"),
    [(1, 0, 0, "plain torch=="), (0, 1, 0, "the CPU build"), (1, 1, 2, "can be reached either")],
)
def test_without_a_cpu_build_the_plain_torch_is_installed(
    tmp_path: Path, cpu: int, plain: int, code: int, said: str
) -> None:
    stubs = {".venv/bin/python": PYTHON.format(cpu=cpu, plain=plain), "bin/nvidia-smi": "#!/bin/sh\nexit 1\n"}
    stubs["bin/uname"] = "#!/bin/sh\necho Linux\n"
    for name, text in stubs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/setup.sh", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "scripts/setup.sh"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    asked = (tmp_path / "asked").read_text().splitlines()
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stderr
    assert ("about 3 GB" in done.stdout, any(line.endswith("constraints.txt torch") for line in asked)) == (
        cpu == 1,
        cpu == 1,
    )
    assert (tmp_path / ".venv/.ready").exists() == (code == 0)
