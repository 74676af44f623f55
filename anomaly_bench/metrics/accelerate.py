"""When the compiled loops are used: if numba is there, and only once there is enough work to pay for loading it."""

from __future__ import annotations

from functools import cache
from types import ModuleType

LOAD_AFTER = 1 << 22  # pixels that torch counts in about the time that importing numba takes

_seen = 0


def compiled_for(pixels: int) -> ModuleType | None:
    """The module `compiled` for an update of that many more pixels, or None while, or where, torch has to do.

    Both give identical counts. Not having numba (`pip install anomaly-bench[fast]`) costs time and nothing else, so
    nothing is said about it here.
    """
    global _seen
    _seen += pixels
    return _compiled() if _seen > LOAD_AFTER else None


@cache
def _compiled() -> ModuleType | None:
    try:
        from anomaly_bench.metrics import compiled
    except ImportError:
        return None
    return compiled
