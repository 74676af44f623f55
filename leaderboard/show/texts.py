"""Numbers and names as texts: what every output shows alike."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from leaderboard.amounts import amount
from leaderboard.statistics.effects import Effect
from leaderboard.statistics.samples import Statistic
from leaderboard.verdicts.claim import BEYOND, HERE, Finding

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


def cell(statistic: Statistic, n: int) -> str:
    """A mean with its sd, three decimals each; a `*` when fewer than the row's `n` seeds define the metric."""
    if statistic.mean is None:
        return UNDEFINED
    sd = "" if statistic.sd is None else f" ± {statistic.sd:.3f}"
    return f"{statistic.mean:.3f}{sd}{'*' if statistic.n < n else ''}"


def number(value: float | None, decimals: int = 3) -> str:
    """Fixed decimals, – where undefined; no sign where it rounds to 0."""
    if value is None:
        return UNDEFINED
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def p_text(p: float | None) -> str:
    """A p value with its comparison sign."""
    return UNDEFINED if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """`low to high`, – where undefined."""
    if low is None:
        return UNDEFINED
    return f"from {number(low)}" if high is None else f"{number(low)} to {number(high)}"


def effect_text(effect: Effect, difference: bool = True) -> str:
    """An effect, with its sign where it is a difference, and, where it has one, its interval."""
    if effect.value is None:
        return UNDEFINED
    value = signed(effect.value) if difference else number(effect.value)
    if effect.low is None:
        return value
    low = number(effect.low)
    return f"{value}, at least {low}" if effect.high is None else f"{value} [{low}, {number(effect.high)}]"


def signed(value: float) -> str:
    """Three decimals with their sign; what rounds to 0 has none."""
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text


def part_text(effect: Effect, difference: bool = True) -> str:
    """A dataset's part: the effect, and what its interval does not hold for, or why there is none."""
    alone = ", over seeds alone" if effect.low is not None and not effect.subjects else ""
    return (
        effect_text(effect, difference)
        + alone
        + (f" (no interval: {effect.why})" if effect.low is None and effect.why else "")
    )


def alone_text(finding: Finding) -> str:
    """Of which datasets the interval is over seeds alone, so that it speaks of these test images; empty for none."""
    if finding.effect.low is None:
        return ""
    names = [name for name, part in finding.parts.items() if not part.subjects]
    if len(names) == len(finding.parts):
        return ", over seeds alone: these test images"
    return f", over seeds alone on {', '.join(map(plain, names))}" if names else ""


def scopes(finding: Finding) -> list[tuple[str, str, Effect, str, str]]:
    """The two answers of a finding: of what, the verdict, the effect, over how many units, and what would decide it."""
    here, beyond, decide = finding.effect, finding.beyond, finding.beyond_decide
    if decide and decide == finding.decide:
        decide = "the same"
    return [
        (HERE, finding.verdict, here, finding.over + alone_text(finding), finding.decide),
        (BEYOND, finding.beyond_verdict, beyond, amount(beyond.n, "datasets"), decide),
    ]


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


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], marks: Sequence[Sequence[str]] = ()
) -> list[str]:
    """The lines of a Markdown table that shows its texts literally; `marks` are what stands around each row's cells."""
    lines = [f"| {' | '.join(map(escape, header))} |", "|---" * len(header) + "|"]
    for row, signs in zip_longest(rows, marks, fillvalue=()):
        cells = (f"{sign}{escape(text)}{sign}" for text, sign in zip_longest(row, signs, fillvalue=""))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A line per row, numbers in full precision, texts as `plain` has them, empty where None."""
    stream = io.StringIO()
    lines = ([plain(value) if isinstance(value, str) else value for value in row] for row in (header, *rows))
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()
