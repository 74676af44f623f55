"""The processes that share a study: each gives a sign of life, and what one that has died was at is begun again by another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from anomaly_bench.sweep import job

if TYPE_CHECKING:
    from filelock import SoftFileLease
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

WORKER = "worker"  # attribute of a trial: the name of the process that carries it out


class Workers:
    """One process among those that work on the study in a file, and what it knows of the others.

    Inside `with` it holds a lock beside the file. Who can take another's lock knows that its process is dead: on the same
    machine at once, elsewhere once it has seen no sign of life for `job.LEASE` seconds.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.name = file, uuid4().hex
        self.own = self._lock(self.name)
        self._watched: dict[str, tuple[SoftFileLease, float]] = {}

    def __enter__(self) -> Workers:
        self.own.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.own.release()

    @property
    def attributes(self) -> dict[str, str]:
        """Of the trials that this process begins."""
        return {WORKER: self.name}

    def take(self, trial: Trial) -> Trial:
        """The trial, which this process carries out, also if another one has put it into the queue."""
        trial.set_user_attr(WORKER, self.name)
        return trial

    def orphans(self, study: Study) -> Iterator[FrozenTrial]:
        """Trials under way whose process has died; no other process is given one while its turn lasts."""
        for trial in _under_way(study):
            lock, since = self._watch(trial)
            if WORKER not in trial.user_attrs and time.monotonic() - since < job.LEASE:
                continue  # it may be about to put its name to it
            if not job.taken(lock):
                continue
            try:
                if not study.trials[trial.number].state.is_finished():
                    yield trial
            finally:
                lock.release()

    def unsure(self, study: Study) -> bool:
        """Whether a trial is under way of whose process it cannot be known yet that it lives."""
        return any(self._elsewhere(trial) and not self._seen_long_enough(trial) for trial in _under_way(study))

    def _lock(self, name: str) -> SoftFileLease:
        return job.lease(self.file.with_name(f"{self.file.name}.{name}.lock"))

    def _watch(self, trial: FrozenTrial) -> tuple[SoftFileLease, float]:
        name = trial.user_attrs.get(WORKER, "nobody")
        return self._watched.setdefault(name, (self._lock(name), time.monotonic()))

    def _seen_long_enough(self, trial: FrozenTrial) -> bool:
        return time.monotonic() - self._watch(trial)[1] > job.LEASE

    def _elsewhere(self, trial: FrozenTrial) -> bool:
        here, there = self.own.owner, self._watch(trial)[0].owner
        return here is None or there is None or here.hostname != there.hostname


def _under_way(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
