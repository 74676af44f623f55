"""JSON as its standard has it: what Python's reader lets pass, or ends with another error than ValueError, is refused."""

from __future__ import annotations

import json
import math
from typing import Any


def loads(data: bytes) -> Any:
    """What JSON in UTF-8 says.

    Raises ValueError for whatever is no such text, NaN, a number that is too large, a key that is there twice, half of a
    surrogate pair, and nesting that is too deep to follow.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_each_once, parse_constant=_refused, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair in a text") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!a} is there twice")
    return entries


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not strict JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is too large")
    return value
