"""How long each predictor takes, where predictors share quantities of one evidence.

On a CPU seconds are numbers. A GPU works on after the call that starts its work, so that there a moment is an event among
its work, and seconds are known once it has come by: nobody waits for that before they are read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from .evidence import Evidence

T = TypeVar("T")


class Stretch:
    """The time between two CUDA events."""

    def __init__(self, start: Any, end: Any) -> None:
        self.events: tuple[Any, Any] | None = (start, end)
        self._seconds = 0.0

    @property
    def passed(self) -> bool:
        """Whether the GPU has come to its end."""
        return self.events is None or bool(self.events[1].query())

    @property
    def seconds(self) -> float:
        """How long it was; waits for its end."""
        if self.events is not None:
            start, end = self.events
            end.synchronize()
            self._seconds, self.events = start.elapsed_time(end) / 1e3, None
        return self._seconds


class Elapsed:
    """Seconds of a GPU as a sum of stretches that may not have passed yet; `float` of it waits for them.

    known: seconds besides; signed: stretches, each with a factor of 1 or -1.
    """

    def __init__(self, known: float = 0.0, signed: tuple[tuple[int, Stretch], ...] = ()) -> None:
        self.known, self.signed = known, signed

    def __add__(self, other: Seconds) -> Elapsed:
        other = other if isinstance(other, Elapsed) else Elapsed(other)
        return Elapsed(self.known + other.known, self.signed + other.signed)

    __radd__ = __add__

    def __neg__(self) -> Elapsed:
        return Elapsed(-self.known, tuple((-sign, stretch) for sign, stretch in self.signed))

    def __sub__(self, other: Seconds) -> Elapsed:
        return self + -other

    def __rsub__(self, other: Seconds) -> Elapsed:
        return -self + other

    def __float__(self) -> float:
        return self.known + sum(sign * stretch.seconds for sign, stretch in self.signed)


Seconds = float | Elapsed


def folded(seconds: Seconds) -> Seconds:
    """The same with what has passed by now as a number, so that a long sum does not hold all of its events."""
    if not isinstance(seconds, Elapsed):
        return seconds
    passed = [part for part in seconds.signed if part[1].passed]
    coming = tuple(part for part in seconds.signed if part not in passed)
    return Elapsed(float(Elapsed(seconds.known, tuple(passed))), coming)


@dataclass
class Span:
    """A stretch of time: the quantities that were asked for in it, and the seconds of those that were computed in it."""

    needs: set[str] = field(default_factory=set)
    shared: Seconds = 0.0


class TimedEvidence(Evidence):
    """An evidence under a stopwatch: both have the same memo, so that what either computes is there for the other.

    seconds: what each quantity that was computed here took by itself, without those that it needs.
    """

    def __init__(self, evidence: Evidence) -> None:
        vars(self).update(vars(evidence))
        self.seconds: dict[str, Seconds] = {}
        self._needs: dict[str, set[str]] = {}  # of each quantity, itself and all that it needs
        self._open: list[Span] = []

    def timed(self, call: Callable[[Evidence], Tensor]) -> tuple[Tensor, Seconds]:
        """The call's result and its seconds: its own plus those of every quantity it needs, whoever asked first."""
        result, own, needs = self._measured(lambda: call(self))
        return result, own + sum(self.seconds[name] for name in needs)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        if name not in self._memo:
            _, self.seconds[name], needs = self._measured(partial(super().once, name, compute))
            self._needs[name] = needs | {name}
        if self._open:
            self._open[-1].needs |= self._needs.get(name, set())
        return self._memo[name]

    def _measured(self, call: Callable[[], T]) -> tuple[T, Seconds, set[str]]:
        """The call's result, its seconds without those of the quantities computed in it, and all that it needs."""
        span, start = Span(), now(self.image.device)
        self._open.append(span)
        try:
            result = call()
        finally:
            self._open.pop()
        seconds = between(start, now(self.image.device))
        if self._open:
            self._open[-1].shared += seconds
        return result, seconds - span.shared, span.needs


def now(device: torch.device) -> Any:
    """This moment: seconds, or of a GPU an event behind all the work that it has been given."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def between(start: Any, end: Any) -> Seconds:
    """The seconds between two moments."""
    return end - start if isinstance(start, float) else Elapsed(signed=((1, Stretch(start, end)),))
