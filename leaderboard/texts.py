"""Names and numbers as they are shown."""

from __future__ import annotations

from leaderboard.statistic import Statistic
from leaderboard.tables import UNDEFINED, cell, plain

LABEL = 36


def number(value: float | None, decimals: int = 3) -> str:
    """Fixed decimals, – where undefined."""
    return UNDEFINED if value is None else f"{value:.{decimals}f}"


def p_text(p: float | None) -> str:
    """A p value with its comparison sign."""
    return UNDEFINED if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """`low to high`, – where undefined."""
    return UNDEFINED if low is None or high is None else f"{low:.3f} to {high:.3f}"


def counted(statistic: Statistic, planned: int) -> str:
    """Mean ± sd, and n/N where seeds are missing."""
    return cell(statistic, statistic.n) + ("" if statistic.n == planned else f" ({statistic.n}/{planned})")


def size_text(smallest: int, largest: int | None) -> str:
    """A class of lesion sizes in pixels."""
    return f"≥ {smallest}" if largest is None else f"{smallest}–{largest}" if largest != smallest else f"{smallest}"


def shown(name: str) -> str:
    """`name` in plain text, its middle left out where it is longer than LABEL letters: a figure has little room."""
    name = plain(name)
    return name if len(name) <= LABEL else f"{name[: LABEL // 2]}…{name[-LABEL // 2 + 1 :]}"
