"""What a process that does a run is asked for from outside: a checkpoint soon, and to leave. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


class Leave(BaseException):
    """The run is to go on in another process; like KeyboardInterrupt, no failure."""


@dataclass
class Wishes:
    """save: write a checkpoint at the next epoch's start; leave: then raise Leave."""

    save: bool = False
    leave: bool = False


wishes = Wishes()  # of this process
