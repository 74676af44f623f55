"""Small texts: counts, sizes and spans for people, and text wrapped at the width of the terminal."""

from __future__ import annotations

import re
from textwrap import TextWrapper

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def human_days(seconds: float) -> str:
    """A time span in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def human_bytes(size: float) -> str:
    """A number of bytes in the largest unit of which there is at least one."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def wrapped(text: str, by: int = 0) -> str:
    """The text with each of its lines wrapped at the width of the terminal, but for addresses and paths, behind blanks."""
    from rich.console import Console

    fit = TextWrapper(max(Console().width, 40), " " * by, " " * by, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(fit.fill, text.splitlines()))


def harmless(text: str) -> str:
    """The text with U+FFFD for what steers a terminal, line breaks aside: it may hold names of files, and of who knows what."""
    return STEERING.sub("\ufffd", text)


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
