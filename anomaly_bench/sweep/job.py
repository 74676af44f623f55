"""A run of a sweep, how it ended, and what carries it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from data_modules.names import dataset_name
from leaderboard.collect import RESULT_FILE

from ..progress import Reporter
from ..schema import RunConfig
from ..source import Identity

if TYPE_CHECKING:
    from data_modules.module import AnomalyDataModule

State = Literal["done", "before", "failed", "held", "stopped"]


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    differs: in what its setting differs from others of the sweep, if the title does not say it otherwise;
    since: a failure that is newer (in seconds since 1970; 0: none) is one of this sweep's.
    """

    config: RunConfig
    identity: Identity
    beta: float
    differs: str = ""
    since: float = 0.0

    @property
    def out(self) -> Path:
        return Path(self.config.out).expanduser()

    @property
    def folder(self) -> Path:
        return self.out / self.identity.folder

    @property
    def done(self) -> bool:
        return (self.folder / RESULT_FILE).exists()

    @property
    def title(self) -> str:
        return title(
            dataset_name(self.config.dataset), self.config.model.name, self.beta, self.differs, self.config.seed
        )


def title(dataset: str, model: str, beta: float, differs: str, seed: int) -> str:
    """What a run is called in all that is shown of a sweep."""
    return " ".join(filter(None, (dataset, model, f"beta={beta:g}", differs, f"seed={seed}")))


@dataclass
class Plan:
    """The jobs, the GPUs that they may use (as CUDA_VISIBLE_DEVICES names them), and the data by the dataset's config."""

    jobs: list[Job]
    devices: list[str]
    data: dict[str, AnomalyDataModule] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How it went with a job, in a line.

    done: now; before: there was a result; failed: why is in its folder; held: another process is at it; stopped: nothing
    can be written any more, so that the whole sweep has to stop.
    """

    job: Job
    state: State
    line: str = ""


class Engine(Protocol):
    """Where and how many at once. Each job is one call of `child.do`, which takes care that it is done once."""

    def carry_out(self, jobs: Sequence[Job], reporter: Reporter) -> Iterator[Ended]:
        """Do the jobs, in any order, and tell of each when it has ended; a job that dies is failed, with the reason.

        Each job gets a `reporter.lane`. Closing the iterator stops what is under way; it goes on with the next sweep.
        """
