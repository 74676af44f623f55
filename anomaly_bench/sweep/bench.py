"""The story of a sweep: configs → jobs → those not done yet → an engine → what it came to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import SoftFileLease

from anomaly_bench.base.bars import reporting
from anomaly_bench.base.errors import ConfigError, OutputError
from anomaly_bench.base.files import check_writable, explained
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import FusedConfig, LocalConfig, RunConfig, SlurmConfig
from anomaly_bench.sweep import processes
from anomaly_bench.sweep.engines.fused import FusedEngine
from anomaly_bench.sweep.engines.local import InProcess, LocalEngine
from anomaly_bench.sweep.engines.slurm import SlurmEngine
from anomaly_bench.tracking.wandb.start import check_environment
from data_modules.base.digests import hash_of
from data_modules.base.names import dataset_name
from leaderboard.json_file import ResultError
from leaderboard.record import RESULT_FILE
from leaderboard.results.collect import FAILURE_FILE, PlannedRun, Sweep, write_sweep
from leaderboard.results.run_arrays import read_run

from .job import Ended, Engine, Job, Plan, lock_of, taken

PAUSE = 1.0  # seconds between looks at runs that other processes are at


@dataclass
class Outcome:
    """What a sweep came to: the output folder, the ids of its runs, those that failed, and whether W&B logged them.

    left: whether runs were left to a cluster, without waiting for them. jobs: all of the plan. damaged: a message for each
    result that was there before and cannot be read; its run was not done.
    """

    out: Path
    run_ids: set[str]
    failed: list[Job] = field(default_factory=list)
    wandb: bool = False
    left: bool = False
    jobs: list[Job] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def bench(
    configs: Sequence[RunConfig], fail_fast: bool = False, only: Mapping[str, str] | None = None, noted: bool = True
) -> Outcome:
    """Do every run of the grid that has no result yet.

    What the user has to mend (config, data, output folder) is found before the first training, for all runs, and raised
    as ConfigError, DataError or OutputError. A run that fails for another reason leaves `failure.txt` in its folder, and
    the sweep goes on, unless fail_fast. Runs that other processes are at are waited for, not repeated.
    only: the runs of an older plan that are to be done again, by their ids in what their settings differ there; ConfigError if
    these configs have become other runs. noted: the folder keeps the plan, so that a leaderboard says how many of its runs it
    has seen.
    """
    out = out_of(configs)
    if configs[0].logger == "wandb":
        check_environment()
    check_writable(out)
    with reporting(len(configs)) as reporter:
        found = planned(configs, reporter)
        jobs = found.jobs
        since = 0.0
        if only is not None:
            _check_same(jobs, only)
            jobs = [replace(job, differs=only[job.identity.run_id]) for job in jobs]
        elif noted:
            with explained(out):
                since = max([write_plan(jobs, out).stat().st_mtime, *_failures(jobs)])  # the clock may have gone back
        failed, pruned, damaged = [], set(), []
        for ended in _carried_out([replace(job, since=since) for job in jobs], _engine(configs[0], found), reporter):
            if ended.state == "stopped":
                raise OutputError(ended.line)
            if ended.state == "failed":
                failed.append(ended.job)
                if fail_fast:
                    break
            if ended.state == "pruned":
                pruned.add(ended.job.identity.run_id)
            if ended.state == "damaged":
                damaged.append(ended.line)
    logged = any(job.config.logger == "wandb" for job in jobs)
    engine = configs[0].engine
    left = isinstance(engine, SlurmConfig) and not engine.wait and not all(job.done for job in jobs)
    known = pruned | {job.identity.run_id for job in failed}
    lost = [job for job in jobs if not (job.done or job.identity.run_id in known)]
    if lost and not left and not (failed and fail_fast):
        raise OutputError(
            f"{lost[0].folder / RESULT_FILE}: removed while the runs went on, {len(lost)} of {len(jobs)} results are gone; "
            "start the same command again to do these runs again"
        )
    return Outcome(out, {job.identity.run_id for job in jobs}, failed, logged, left, jobs, damaged)


def _failures(jobs: Sequence[Job]) -> Iterator[float]:
    """When the failures that are there already were written."""
    for job in jobs:
        if (failure := job.folder / FAILURE_FILE).exists():
            yield failure.stat().st_mtime


def out_of(configs: Sequence[RunConfig]) -> Path:
    """The output folder. Raises ConfigError if the runs of a sweep differ in what is the sweep's."""
    if len({config.out for config in configs}) > 1:
        raise ConfigError("out=…: give one output folder; a sweep's runs lie in folders of their own below it")
    if len({(config.jobs, repr(config.engine)) for config in configs}) > 1:
        raise ConfigError("jobs=…, engine=…: give one value; they are the sweep's")
    if len(loggers := {config.logger for config in configs}) > 1:
        raise ConfigError(
            f"logger={','.join(sorted(loggers))}: give one, by which no run becomes another; all of them log CSV"
        )
    if configs[0].jobs == 0 and isinstance(configs[0].engine, SlurmConfig):
        raise ConfigError(
            "jobs=0: it does all runs in this process, engine=slurm in jobs of a cluster; leave one of them out"
        )
    return Path(configs[0].out).expanduser()


def planned(configs: Sequence[RunConfig], reporter: Reporter) -> Plan:
    """The plan; made in a process of its own, as preparing data and building models start threads, unless jobs=0."""
    if configs[0].jobs == 0:
        from .plan import plan

        return plan(configs, reporter)
    try:
        found: Plan = processes.call("anomaly_bench.sweep.plan:plan_alone", (configs,), reporter)
    except processes.DiedError as error:
        raise RuntimeError(f"the runs could not be planned: {error}") from None
    return found


def write_plan(jobs: Sequence[Job], out: Path) -> Path:
    """Note which runs belong together, so that a leaderboard can say how many of them it saw."""
    runs = [planned_run(job) for job in jobs]
    name = hash_of(sorted(run.run_id for run in runs), 8)
    return write_sweep(Sweep(runs=runs, differs=differs_of(jobs)), out, name)


def differs_of(jobs: Sequence[Job]) -> dict[str, str]:
    """In what settings differ, by their ids."""
    return {job.identity.setting_id: job.differs for job in jobs if job.differs}


def planned_run(job: Job) -> PlannedRun:
    """A job as the plan notes it."""
    return PlannedRun(
        run_id=job.identity.run_id,
        setting_id=job.identity.setting_id,
        dataset=dataset_name(job.config.dataset),
        model=job.config.model.name,
        beta=job.beta,
        seed=job.config.seed,
        folder=job.identity.folder,
    )


def _engine(config: RunConfig, found: Plan) -> Engine:
    each = _engine_of_each(config, found)
    if isinstance(config.engine, FusedConfig):
        return FusedEngine(config.engine, each, found.devices, found.data if config.jobs == 0 else None)
    return each


def _engine_of_each(config: RunConfig, found: Plan) -> Engine:
    if config.jobs == 0:
        return InProcess(found.data)
    if isinstance(config.engine, SlurmConfig):
        return SlurmEngine(config.engine, Path(config.out).expanduser())
    assert isinstance(config.engine, LocalConfig)
    return LocalEngine(config.engine, config.jobs, found.devices, max(job.config.trainer.devices for job in found.jobs))


def _carried_out(jobs: Sequence[Job], engine: Engine, reporter: Reporter) -> Iterator[Ended]:
    """Each job once, as it ends, by whomever."""
    yield from _told([_before(job) for job in jobs if job.done], reporter)
    todo = [job for job in jobs if not job.done]
    while todo:
        held = []
        with closing(engine.carry_out(todo, reporter)) as news:  # type: ignore[type-var]
            for ended in news:
                if ended.state == "held":
                    held.append(ended.job)
                else:
                    yield from _told([ended], reporter)
        _wait_for_one(held, reporter)
        done = [job for job in held if job.done]
        yield from _told([Ended(job, "before") for job in done], reporter)
        todo = [job for job in held if job not in done]


def _before(job: Job) -> Ended:
    """How it stands with a job that has a result already."""
    try:
        read_run(job.folder / RESULT_FILE)
    except ResultError as error:
        return Ended(job, "damaged", str(error))
    return Ended(job, "before")


def _told(news: Sequence[Ended], reporter: Reporter) -> Iterator[Ended]:
    for ended in news:
        title = ended.job.title
        if ended.state == "done":
            reporter.finished(f"{title}: {ended.line}")
        elif ended.state == "before":
            reporter.finished(f"{title}: done before", timed=False)
        elif ended.state == "damaged":
            reporter.finished(f"{title}: DAMAGED, not done again", timed=False)
        elif ended.state in ("failed", "pruned"):
            failed = "FAILED, " * (ended.state == "failed")
            reporter.finished(f"{title}: {failed}{ended.line} ({ended.job.folder / 'failure.txt'})")
        yield ended


def _wait_for_one(held: Sequence[Job], reporter: Reporter) -> None:
    """Until another process has finished, or left, one of the jobs; then all are worth another look."""
    if held:
        names = f"{', '.join(job.title for job in held[:4])}{' …' * (len(held) > 4)}"
        reporter.say(f"waiting for other processes: they are at {names}")
    locks = [lock_of(job) for job in held]  # each sees for itself for how long its holder has given no sign of life
    while held and not any(job.done or _is_free(lock) for job, lock in zip(held, locks, strict=True)):
        time.sleep(PAUSE)


def _is_free(lock: SoftFileLease) -> bool:
    if not taken(lock):
        return False
    lock.release()
    return True


def _check_same(jobs: Sequence[Job], only: Mapping[str, str]) -> None:
    changed = sorted(job.title for job in jobs if job.identity.run_id not in only)
    if changed:
        raise ConfigError(
            f"{changed[0]}{' and others' if len(changed) > 1 else ''}: another run by now, as code or data have changed; "
            "start the same `anomaly-bench bench` again"
        )
