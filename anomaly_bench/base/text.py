"""Small texts: counts, sizes and spans for people, and text wrapped at the width of the terminal."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


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


def indented(text: str, console: Console, by: int = 9) -> str:
    """The text wrapped at the width of the terminal, every line of it behind blanks."""
    width = max(console.width, 40)
    blanks = " " * by
    return fill(
        text, width, initial_indent=blanks, subsequent_indent=blanks, break_long_words=False, break_on_hyphens=False
    )


def paragraphs(text: str) -> str:
    """The text with each of its lines wrapped at the width of the terminal, but for addresses and paths."""
    from rich.console import Console

    width = max(Console().width, 40)
    return "\n".join(fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text.splitlines())


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
