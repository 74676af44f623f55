"""How long each predictor takes, where predictors share quantities of one evidence."""

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


@dataclass
class Span:
    """A stretch of time: the quantities that were asked for in it, and the seconds of those that were computed in it."""

    needs: set[str] = field(default_factory=set)
    shared: float = 0.0


class TimedEvidence(Evidence):
    """An evidence under a stopwatch: both have the same memo, so that what either computes is there for the other.

    seconds: what each quantity that was computed here took by itself, without those that it needs.
    """

    def __init__(self, evidence: Evidence) -> None:
        vars(self).update(vars(evidence))
        self.seconds: dict[str, float] = {}
        self._needs: dict[str, set[str]] = {}  # of each quantity, itself and all that it needs
        self._open: list[Span] = []

    def timed(self, call: Callable[[Evidence], Tensor]) -> tuple[Tensor, float]:
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

    def _measured(self, call: Callable[[], T]) -> tuple[T, float, set[str]]:
        """The call's result, its seconds without those of the quantities computed in it, and all that it needs."""
        span, start = Span(), self._now()
        self._open.append(span)
        try:
            result = call()
        finally:
            self._open.pop()
        seconds = self._now() - start
        if self._open:
            self._open[-1].shared += seconds
        return result, seconds - span.shared, span.needs

    def _now(self) -> float:
        if self.image.is_cuda:  # kernels run on after the call that starts them
            torch.cuda.synchronize(self.image.device)
        return time.perf_counter()
