"""What a process that does a run is asked for from outside: a checkpoint soon, and to leave. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


class StopRun(BaseException):
    """The run is to go on in another process; like KeyboardInterrupt, no failure."""


@dataclass
class StopRequest:
    """save: write a checkpoint at the next epoch's start; leave: then raise StopRun."""

    save: bool = False
    leave: bool = False


stop_request = StopRequest()  # of this process
