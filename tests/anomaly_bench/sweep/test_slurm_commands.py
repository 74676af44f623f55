"""What SLURM's commands say, as it is understood; the commands themselves are scripts with the words of real ones."""

from __future__ import annotations

import pytest

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.schema import SlurmConfig
from anomaly_bench.sweep import slurm_commands as slurm
from anomaly_bench.sweep.engines.slurm import SlurmEngine, check_cluster, refusal

QUEUE = "12_0|RUNNING|node7\n12_1|PENDING|(BeginTime)\n12_2|FAILED|node7\n13|COMPLETING|node7\n"
GONE = "JobId=14 ArrayJobId=12 JobName=anomaly_bench JobState=NODE_FAIL Reason=NodeDown ExitCode=0:9 RunTime=00:01:00"


@pytest.fixture
def says(tmp_path, monkeypatch):
    """Makes a command that prints a text, to standard error if it ends with another code than 0."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    def make(command, text, code=0):
        (tmp_path / f"{command}.txt").write_text(text)
        script = tmp_path / command
        to = 2 if code else 1
        lines = ["#!/bin/sh", f"echo $0 $@ >> {tmp_path}/asked", f"cat {tmp_path}/{command}.txt >&{to}", f"exit {code}"]
        script.write_text("\n".join(lines))
        script.chmod(0o755)

    return make


def test_the_queue_is_asked_once_for_all_arrays_and_says_who_is_alive(says, tmp_path):
    says("squeue", QUEUE)
    known = slurm.queue(["12_0", "12_1", "12_2", "13"])
    assert {job_id: (job.state, job.where, job.alive) for job_id, job in known.items()} == {
        "12_0": ("RUNNING", "node7", True),
        "12_1": ("PENDING", "BeginTime", True),
        "12_2": ("FAILED", "node7", False),
        "13": ("COMPLETING", "node7", True),
    }
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.endswith("--jobs=12,13")


def test_a_forgotten_job_is_gone_and_a_silent_controller_is_not_taken_for_its_death(says):
    says("squeue", "slurm_load_jobs error: Invalid job id specified\n", 1)
    assert slurm.queue(["99"]) == {}
    says("squeue", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", 1)
    with pytest.raises(slurm.UnreachableError, match="Unable to contact"):
        slurm.queue(["99"])


def test_how_a_job_died_is_asked_of_the_accounting_and_without_one_of_the_controller(says):
    says("sacct", "CANCELLED by 0|0:15\n")
    assert slurm.fate("12_2") == ("CANCELLED", "0:15")
    says("sacct", "Slurm accounting storage is disabled\n", 1)
    says("scontrol", GONE)
    assert slurm.fate("12_2") == ("NODE_FAIL", "0:9")


def test_how_a_job_died_is_unknown_where_neither_answers(says):
    says("scontrol", "slurm_load_jobs error: Invalid job id specified", 1)
    assert slurm.fate("12_2") == ("UNKNOWN", "0:0")


def test_a_refusal_names_the_key_and_a_controller_that_is_away_is_none():
    prefix = "sbatch: error: Batch job submission failed: "
    wrong = refusal(f"sbatch: error: invalid partition specified: nope\n{prefix}Invalid partition name specified\n")
    assert str(wrong) == ("engine=slurm: sbatch refuses (Invalid partition name specified); look at engine.partition")
    assert "engine.cpus, engine.gpus" in str(refusal(f"{prefix}Requested node configuration is not available"))
    assert "engine.extra" in str(refusal("sbatch: unrecognized option '--colour=red'"))
    away = refusal(f"{prefix}Unable to contact slurm controller (connect failure)")
    assert isinstance(away, slurm.UnreachableError)


def test_where_there_is_no_slurm_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"there is no sbatch here; start it on a machine of the cluster"):
        check_cluster()


def test_every_key_of_the_engine_reaches_sbatch(says, tmp_path):
    pytest.importorskip("submitit")
    says("srun", "")
    config = SlurmConfig(
        "slurm", "gpu", "lab", time=90, mem_gb=1.5, cpus=3, gpus=2, at_once=7, notice=60, setup=["module load x"],
        extra={"qos": "long"},
    )  # fmt: skip
    executor = SlurmEngine(config, tmp_path)._executor()
    text = executor._make_submission_file_text("true", "0")
    for option in (
        *("partition=gpu", "account=lab", "time=90", "mem=1536M", "cpus-per-task=3", "gpus-per-node=2", "qos=long"),
        *("signal=USR2@60", "requeue"),
    ):
        assert f"#SBATCH --{option}\n" in text
    assert "module load x" in text
    assert executor.parameters["array_parallelism"] == 7
