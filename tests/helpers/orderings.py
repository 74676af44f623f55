"""Every order that the pixels of one bin can have."""

from __future__ import annotations

from collections.abc import Iterator


def weak_orderings(normal: int, anomalous: int) -> Iterator[list[tuple[int, int]]]:
    """Every way to split a bin into consecutive tie groups of (normal, anomalous) pixels."""
    if normal == anomalous == 0:
        yield []
    for n in range(normal + 1):
        for p in range(anomalous + 1):
            if n + p:
                yield from ([(n, p), *rest] for rest in weak_orderings(normal - n, anomalous - p))
