"""Tasks timed in turn, and their ratios: the machine's load changes from round to round, a ratio within one hardly."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ROUNDS = 9


def goal(what: str, value: float, bound: float, least: bool = False) -> None:
    """Print what is wanted of a ratio, at most the bound or at least, and whether it is so."""
    met = value >= bound if least else value <= bound
    print(f"  goal: {what} {'≥' if least else '≤'} {bound:g}; {'met' if met else 'MISSED'} at {value:.3g}")


@dataclass(frozen=True)
class Times:
    """Seconds of tasks that took turns, per task one of each round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, floor: str) -> float:
        """How many times as long as the floor: the median of the rounds, as the machine's load changes between them."""
        return statistics.median(self.ratios(name, floor))

    def ratios(self, name: str, floor: str) -> list[float]:
        return sorted(a / b for a, b in zip(self.seconds[name], self.seconds[floor], strict=True))

    def shown(self, name: str, floor: str, digits: int = 2) -> str:
        """The ratio with the range of the rounds."""
        ratios = self.ratios(name, floor)
        low, middle, high = (f"{value:.{digits}f}" for value in (ratios[0], self.ratio(name, floor), ratios[-1]))
        return f"{middle} ({low} to {high})"


def timed(tasks: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS) -> Times:
    """Run the tasks in turn, for several rounds after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return Times({name: own[1:] for name, own in seconds.items()})
