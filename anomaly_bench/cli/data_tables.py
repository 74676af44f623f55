"""What `anomaly-bench data` prints of datasets and stores: readable at 80 columns, on paper as on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_modules.catalog.entries import Entry
from data_modules.store.folders import StoreInfo, final_name

MARKS = {"here": "green", "on first use": "green", "missing": "dim", "unfit": "yellow", "incomplete": "dim"}


def catalog_list(entries: Iterable[Entry], width: int) -> None:
    """Two lines on each dataset as soon as it is looked at, and one more on what stands in its way.

    width: of the longest name.
    """
    console = Console(highlight=False)
    seen, here = 0, 0
    for entry in entries:
        seen, here = seen + 1, here + (entry.state == "here")
        found = f", {entry.subjects:,}" if entry.subjects is not None else ""
        name, state, access = entry.option.ljust(width + 2), (entry.state + found).ljust(15), entry.access.ljust(14)
        line = Text.assemble((name, "bold"), (state, MARKS.get(entry.state, "")), access, str(entry.root))
        console.print(line, soft_wrap=True)
        about = "; ".join(filter(None, (entry.title, entry.kind, entry.licence)))
        console.print(Text(indented(about, console, 2), style="dim"), soft_wrap=True)
        if entry.note:
            console.print(Text(indented(entry.note, console, 2), style="yellow"), soft_wrap=True)
    hint = "`anomaly-bench data fetch NAME` gets one, or says how"
    console.print(f"\n{here} of {seen} are here, with so many subjects or pictures; {hint}", soft_wrap=True)


def stores_table(stores: Sequence[StoreInfo], cache: Path) -> None:
    """The slice stores, by dataset and last use."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("store", overflow="fold")
    for title in ("subjects", "slices", "size", "unused"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for info in stores:
        state = Text("whole", "green") if info.whole else Text("unreadable", "yellow")
        size, used = human_bytes(info.bytes), human_days(time.time() - info.last_used)
        table.add_row(final_name(info.folder.name), f"{info.subjects:,}", f"{info.slices:,}", size, used, state)
    if stores:
        console.print(table)
    total = human_bytes(sum(info.bytes for info in stores))
    if not all(info.whole for info in stores):
        console.print("unreadable: unfinished, damaged, or of another version; `anomaly-bench data rm NAME` removes it")
    console.print(f"{plural(len(stores), 'slice store')}, {total}, in {cache / 'stores'}", soft_wrap=True)


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
    width = max(Console().width, 40)
    return "\n".join(fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text.splitlines())


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
