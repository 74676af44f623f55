"""Tasks timed in turn, and their ratios: the machine's load changes from round to round, a ratio within one hardly."""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDS = 9
RATIOS = "BENCHMARK_RATIOS"  # the environment variable


def goal(what: str, value: float, bound: float | None = None, least: bool = False) -> bool:
    """Print a ratio and what is wanted of it, at most the bound or at least; whether it is so.

    Where RATIOS names a file, the ratio is noted there, one JSON document per line: `make benchmarks` collects them.
    """
    met = bound is None or (value >= bound if least else value <= bound)
    wanted = "" if bound is None else f"; goal {'≥' if least else '≤'} {bound:g}, {'met' if met else 'MISSED'}"
    print(f"  {what}: {value:.3g}{wanted}", flush=True)
    if path := os.environ.get(RATIOS):
        line = json.dumps({"what": what, "value": float(f"{value:.3g}"), "bound": bound, "least": least})
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    return met


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


def keep_memory() -> None:
    """Have the C library keep what is freed for what comes next, as far as it is glibc.

    Whether it gives memory back to the system, to get it again page by page, depends on what a process did before; that
    costs several times as much as copying.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(parameter, 1 << 30)


def timed(
    tasks: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """Run the tasks in turn, for several rounds after one that does not count.

    clock: time.thread_time for tasks of one thread, whose CPU time other processes hardly change.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            start = clock()
            task()
            seconds[name].append(clock() - start)
    return Times({name: own[1:] for name, own in seconds.items()})
