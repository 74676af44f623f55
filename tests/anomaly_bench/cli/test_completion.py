"""The Tab key, by the protocol of the shells: the line in the environment, the answer on a file descriptor."""

import os
import subprocess
import sys

import pytest

from anomaly_bench.cli.completers import finished_runs, folders_of_runs

BREAKS = " \t\n\"'><=;|&(:"  # bash's own


@pytest.fixture
def tab(tmp_path):
    """The answers to Tab behind a line, and whether the process said anything else."""

    def ask(line, **variables):
        answer = tmp_path / "answer"
        environment = {
            **os.environ,
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_SHELL": "bash",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_COMP_WORDBREAKS": BREAKS,
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
            **variables,
        }
        code = (
            "import sys; from anomaly_bench.cli.main import main\n"
            "import os, atexit; real = os._exit\n"
            "def leave(code):\n"
            "    heavy = {'torch', 'hydra', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
            "    print(*heavy, file=sys.stderr) if heavy else None\n"
            "    sys.stderr.flush(); real(code)\n"
            "os._exit = leave; main()"
        )
        asked = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert asked.stdout == asked.stderr == ""
        return answer.read_text().split("\n") if answer.exists() else []

    return ask


@pytest.mark.slow
def test_verbs_options_groups_keys_and_values_are_completed_without_loading_torch(tab):
    assert tab("anomaly-bench lead") == ["leaderboard "]
    assert tab("anomaly-bench run --cf") == ["--cfg "]
    assert tab("anomaly-bench run dataset=tiny") == ["tiny_brain", "tiny_texture"]  # bash has dataset= as a word
    assert tab("anomaly-bench run dataset=ixi,tiny_b") == ["ixi,tiny_brain "]
    assert tab("anomaly-bench bench seed=1 --jobs 2 model.be") == ["model.beta="]
    assert tab("anomaly-bench run trainer.max_", _ARGCOMPLETE_COMP_WORDBREAKS="") == ["trainer.max_epochs="]
    assert tab("anomaly-bench data fetch tiny_t") == ["tiny_texture "]


@pytest.mark.slow
def test_what_goes_wrong_says_nothing(tab, tmp_path):
    assert tab("anomaly-bench run --config-dir /nowhere dataset=b") == [""]
    assert tab("anomaly-bench nosuch x") == [""]
    (tmp_path / "own/dataset").mkdir(parents=True)
    (tmp_path / "own/dataset/mine.yaml").touch()
    assert tab("anomaly-bench run --config-dir own dataset=min") == ["mine "]


def test_folders_are_those_of_finished_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/a-1", "runs/b-2", "rest", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
    assert folders_of_runs(prefix="r") == ["rest/", "runs/"]  # nothing finished: on from any
    assert folders_of_runs(prefix="") == ["rest/", "runs/"]
    (tmp_path / "runs/a-1/result.json").touch()
    assert folders_of_runs(prefix="r") == ["runs"]
    assert folders_of_runs(prefix=f"{tmp_path}/ru") == [f"{tmp_path}/runs"]
    assert finished_runs(prefix="") == ["runs/"]
    assert finished_runs(prefix="runs/") == ["runs/a-1"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_code_of_a_shell_names_the_command(cli, shell):
    code, out, _ = cli("completion", shell)
    assert code == 0
    assert "anomaly-bench" in out
    assert "_ARGCOMPLETE" in out
