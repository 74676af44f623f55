"""The line on a run that is done, and a sweep whose results go away."""

import pytest
from small_runs import tiles

from anomaly_bench.base.errors import OutputError
from anomaly_bench.base.identity import Identity
from anomaly_bench.config.load import load_config
from anomaly_bench.sweep.bench import bench
from anomaly_bench.sweep.job import Ended, Job, Plan
from anomaly_bench.sweep.worker import summary
from leaderboard.record import RESULT_FILE


def test_the_line_says_that_a_best_epoch_was_the_last(make_result):
    durations = {"provenance": {"durations": {"fit": 4.0, "localize": 2.0}}}
    last, before, unknown = (
        summary(make_result(training=training, **durations))
        for training in ({"epochs": 30, "best_epoch": 30}, {"epochs": 30, "best_epoch": 20}, {"epochs": 30})
    )
    assert last == f"{before}; best epoch 30 = last: train longer (trainer.max_epochs)"
    assert unknown == before == "epochs 30 in 4 s, localized in 2 s; pixel AUROC 0.900 (grad_kl)"
    two = summary(make_result(0, {"rec_l1": 0.8, "grad_kl": 0.6}, training={"epochs": 30}, **durations))
    assert two.endswith("pixel AUROC 0.600 (grad_kl) to 0.800 (rec_l1)")


def test_a_result_that_is_removed_while_the_sweep_goes_on_is_missed(tmp_path, monkeypatch):
    config = load_config([*tiles(tmp_path), f"out={tmp_path / 'runs'}", "jobs=0"])
    jobs = [Job(config, Identity(f"run{number}", "setting", f"run{number}"), 4.0) for number in range(3)]
    for job in jobs[1:]:
        job.folder.mkdir(parents=True)
        (job.folder / RESULT_FILE).touch()
    monkeypatch.setitem(bench.__globals__, "planned", lambda configs, reporter: Plan(jobs, []))
    monkeypatch.setitem(bench.__globals__, "_carried_out", lambda jobs, *_: [Ended(job, "done") for job in jobs])
    with pytest.raises(
        OutputError, match=r"run0/result\.json: removed while .* 1 of 3 results are gone; start the same"
    ):
        bench([config])
