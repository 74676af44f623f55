"""Numbers and names as texts: what every output shows alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leaderboard.statistics.samples import Statistic

COLUMNS = {
    "auroc": "pixel AUROC",
    "ap": "AP",
    "dice": "dice",
    "dice_oracle": "dice_oracle",
    "aupro": "AUPRO",
    "image_auroc": "image AUROC",
}
UNDEFINED = "–"
LABEL = 36
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MARKUP = re.compile(r"[\\|*`<\[\]&$~]|(?<![^\W_])_|_(?![^\W_])")  # inside a word _ is no emphasis


@dataclass(frozen=True)
class Style:
    """How tightly a table is set.

    `spread` joins mean and sd, `leading_zero` tells 0.9 from .9, names fold at `name_width`, and `gap` is the blanks
    between columns beyond one.
    """

    spread: str = " ± "
    leading_zero: bool = True
    name_width: int | None = None
    gap: int = 0

    @property
    def narrow(self) -> bool:
        """Whether long column names are broken over two lines."""
        return self.spread != " ± "


PLAIN = Style(gap=1)


def cell(statistic: Statistic, n: int, style: Style = PLAIN) -> str:
    """A mean with its sd, three decimals each; a `*` when fewer than the row's `n` seeds define the metric."""
    if statistic.mean is None:
        return UNDEFINED
    text = f"{statistic.mean:.3f}"
    if statistic.sd is not None:
        text += f"{style.spread}{statistic.sd:.3f}"
    if not style.leading_zero:
        text = re.sub(r"\b0\.", ".", text)
    return text + ("*" if statistic.n < n else "")


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


def plain(text: str) -> str:
    """`text` on one line, with U+FFFD for what steers a terminal, turns the direction of what follows, or is no character."""
    return STEERING.sub("\ufffd", " ".join(text.split()))


def escape(text: str) -> str:
    """`text` as a Markdown table cell that shows it literally: no emphasis, link, picture, formula or markup of its own."""
    return MARKUP.sub(r"\\\g<0>", plain(text))


def shown(name: str) -> str:
    """`name` in plain text, its middle left out where it is longer than LABEL letters: a figure has little room."""
    name = plain(name)
    return name if len(name) <= LABEL else f"{name[: LABEL // 2]}…{name[-LABEL // 2 + 1 :]}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table of cells that are Markdown already."""
    return [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
