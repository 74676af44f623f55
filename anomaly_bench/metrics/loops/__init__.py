"""Which loops count on the CPU: compiled ones where numba is, and only once there is enough work to pay for loading it."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from . import numpy_loops

LOAD_AFTER = 1 << 24  # pixels that NumPy counts in about the time that numba takes to load

_seen = 0


def loops_for(pixels: int) -> ModuleType:
    """The module `numba_loops` or `numpy_loops` for an update of that many more pixels.

    Both give identical counts. Not having numba (`pip install 'anomaly-bench[fast]'`) costs time and nothing else, so
    nothing is said about it here.
    """
    global _seen
    _seen += pixels
    return _numba_loops() if _seen > LOAD_AFTER else numpy_loops


@cache
def _numba_loops() -> ModuleType:
    try:
        from . import numba_loops
    except ImportError:
        return numpy_loops
    return numba_loops
