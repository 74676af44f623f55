"""jobs=0: the runs one after the other in the process itself, for `run`, for debuggers and where processes cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..progress import Reporter
from .job import Ended, Job


class InProcess:
    """data: what has been prepared, by the dataset's config."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def carry_out(self, jobs: Sequence[Job], reporter: Reporter) -> Iterator[Ended]:
        """See Engine."""
        from .child import do

        for job in jobs:
            reporter.run(job.title)
            yield do(job, reporter, self.data.get(repr(job.config.dataset)))
