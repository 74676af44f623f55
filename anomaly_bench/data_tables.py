"""What `anomaly-bench data` prints: readable at 80 columns, on paper as on a terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from data_modules.catalog import Entry
from data_modules.describe import Description, Intensities, size_bins
from data_modules.store import StoreInfo, final_name
from data_modules.verify import ERROR, LEVELS, NOTE, WARNING, Findings, Problem

ALIKE = 3  # problems of one kind that are shown before the rest is counted
BLOCKS = " ▁▂▃▄▅▆▇█"
STYLES = {ERROR: "bold red", WARNING: "yellow", NOTE: "cyan"}
MARKS = {"here": "green", "on first use": "green", "missing": "dim", "unfit": "yellow", "incomplete": "dim"}


def catalog_list(entries: Sequence[Entry]) -> None:
    """Two lines on each dataset, and one more on what stands in its way."""
    console = Console(highlight=False)
    widths = [max(len(text) for text in column) + 2 for column in zip(*map(_columns, entries), strict=True)]
    for entry in entries:
        name, state, access = (text.ljust(width) for text, width in zip(_columns(entry), widths, strict=True))
        line = Text.assemble((name, "bold"), (state, MARKS.get(entry.state, "")), access, str(entry.root))
        console.print(line, soft_wrap=True)
        about = "; ".join(filter(None, (entry.title, entry.kind, entry.licence)))
        console.print(Text(_indented(about, console, 2), style="dim"), soft_wrap=True)
        if entry.note:
            console.print(Text(_indented(entry.note, console, 2), style="yellow"), soft_wrap=True)
    here = sum(entry.state == "here" for entry in entries)
    hint = "`anomaly-bench data fetch NAME` gets one, or says how"
    console.print(f"\n{here} of {len(entries)} are here, with so many subjects or pictures; {hint}", soft_wrap=True)


def _columns(entry: Entry) -> tuple[str, str, str]:
    found = f", {entry.subjects:,}" if entry.subjects is not None else ""
    return entry.option, entry.state + found, entry.access


def description_tables(description: Description) -> None:
    """Splits, intensities, region sizes and attributes."""
    console = Console(highlight=False)
    size = "×".join(str(side) for side in description.size)
    console.print(f"[bold]{escape(description.dataset)}[/bold] in {escape(description.root)}", soft_wrap=True)
    console.print(f"{', '.join(description.channels)}; {size} pixels; fingerprint {description.fingerprint}\n")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("split")
    for title in ("subjects", "slices", "normal", "anomalous", "anomalous pixels"):
        table.add_column(title, justify="right")
    for name, part in description.parts.items():
        counts = (part.subjects, part.slices, part.normal, part.anomalous)
        table.add_row(name, *(f"{count:,}" for count in counts), f"{part.share:.3%}")
    console.print(table)
    if description.dropped:
        console.print(f"{description.dropped:.1%} of the anomalous voxels lie in slices that were left out")
    _sources(description, console)
    for channel in description.intensities:
        _intensities(channel, console)
    _regions(description, console)
    _attributes(description, console)


def findings_list(findings: Findings) -> None:
    """The problems with their files and remedies, the worst first, then how many there are.

    Of problems that differ in their file alone, ALIKE are shown and the others counted. What is wrong with the dataset as
    a whole comes last: it often follows from what is wrong with its files.
    """
    console = Console(highlight=False)
    console.print(f"[bold]{escape(findings.dataset)}[/bold] in {escape(findings.root)}", soft_wrap=True)
    families: dict[tuple[str, ...], list[Problem]] = {}
    for problem in sorted(findings.problems, key=lambda one: (LEVELS.index(one.level), not _place(one, findings))):
        families.setdefault(_family(problem), []).append(problem)
    for members in families.values():
        for problem in members[:ALIKE]:
            place = _place(problem, findings) or "the dataset"
            console.print(Text.assemble((f"{problem.level:<9}", STYLES[problem.level]), place), soft_wrap=True)
            console.print(Text(_indented(problem.what, console)), soft_wrap=True)
            if problem.remedy:
                console.print(Text(_indented(f"→ {problem.remedy}", console), style="dim"), soft_wrap=True)
        if len(members) > ALIKE:
            console.print(Text(_indented(f"and {len(members) - ALIKE} more like it (--json FILE names all)", console)))
    counts = ", ".join(_plural(findings.count(level), level) for level in LEVELS)
    read = f"{_plural(findings.subjects, 'subject')}, {_plural(findings.files, 'file')} read"
    verdict = "not fit for a run" if findings.count(ERROR) else "fit for a run"
    console.print(
        Text.assemble((verdict, STYLES[ERROR] if findings.count(ERROR) else "bold green"), f": {counts}; {read}")
    )


def _place(problem: Problem, findings: Findings) -> str:
    """The file below the root, or the subject, that a problem is of; empty for the dataset as a whole."""
    file = "" if problem.file == findings.root else problem.file.removeprefix(f"{findings.root}/")
    named = re.match(r"subject (\S+) ", problem.what)
    return file or problem.subject or (named.group(1) if named else "")


def _family(problem: Problem) -> tuple[str, ...]:
    """What problems that differ in file, subject and numbers alone have in common."""
    own = [name for name in (problem.file, Path(problem.file).name, problem.subject) if name]
    texts = [re.sub(r"^subject \S+ ", "subject … ", problem.what), problem.remedy]
    for name in sorted(own, key=len, reverse=True):
        texts = [text.replace(name, "…") for text in texts]
    return problem.level, *(re.sub(r"\d+(\.\d+)?", "0", text) for text in texts)


def stores_table(stores: Sequence[StoreInfo], cache: Path) -> None:
    """The slice stores, by dataset and last use."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("store", overflow="fold")
    for title in ("subjects", "slices", "size", "last used"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for info in stores:
        state = Text("whole", "green") if info.whole else Text("unfinished or damaged", "yellow")
        size, used = human_bytes(info.bytes), f"{human_days(time.time() - info.last_used)} ago"
        table.add_row(final_name(info.folder.name), f"{info.subjects:,}", f"{info.slices:,}", size, used, state)
    if stores:
        console.print(table)
    total = human_bytes(sum(info.bytes for info in stores))
    console.print(f"{_plural(len(stores), 'slice store')}, {total}, in {cache / 'stores'}", soft_wrap=True)


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


def sparkline(counts: Sequence[int], width: int) -> str:
    """Counts as a line of blocks, the highest bin full; bins are added up to `width` of them."""
    edges = np.linspace(0, len(counts), min(width, len(counts)) + 1).round().astype(int)
    bins = [sum(counts[first:last]) for first, last in pairwise(edges)]
    top = max(bins, default=0) or 1
    # what is there at all shows at least the lowest block
    return "".join(BLOCKS[max(round(count / top * (len(BLOCKS) - 1)), count > 0)] for count in bins)


def _sources(description: Description, console: Console) -> None:
    if description.sources:
        found = [f"{what} ({count})" for what, count in list(description.sources.items())[:3]]
        more = f" and {len(description.sources) - 3} more" if len(description.sources) > 3 else ""
        console.print(f"sources  {', '.join(found)}{more}", markup=False)


def _intensities(channel: Intensities, console: Console) -> None:
    console.print(f"\nintensity of the foreground, {channel.channel}", markup=False)
    for name, counts in (("normal", channel.normal), ("anomalous", channel.anomalous)):
        console.print(f"  {name:<10}{sparkline(counts, 64)}", markup=False)
    console.print(f"  {'':<10}{channel.edges[0]:<32.3g}{channel.edges[-1]:>32.3g}")


def _regions(description: Description, console: Console) -> None:
    bins = size_bins(description.regions)
    if not bins:
        return
    console.print(f"\nanomalous regions, {sum(description.regions.values()):,}, by pixels of a region in a slice")
    top = max(count for *_, count in bins)
    for low, high, count in bins:
        label = str(low) if low == high else f"{low}–{high}"
        full, part = divmod(round(count / top * 40 * 8), 8)
        console.print(f"  {label:>12}  {'█' * full}{' ▏▎▍▌▋▊▉'[part].strip()} {count:,}")


def _attributes(description: Description, console: Console) -> None:
    if description.attributes:
        console.print("\nattributes of the subjects")
    for name, found in description.attributes.items():
        if "counts" in found:
            shown = [f"{value} {count}" for value, count in list(found["counts"].items())[:8]]
            text = ", ".join(shown) + (f", {len(found['counts']) - 8} more" if len(found["counts"]) > 8 else "")
        else:
            text = f"{found['min']:g} to {found['max']:g}, median {found['median']:g}"
        missing = f"; unknown of {found['missing']}" if found["missing"] else ""
        console.print(f"  {name}: {text}{missing}", markup=False)


def _indented(text: str, console: Console, by: int = 9) -> str:
    width = max(console.width, 40)
    blanks = " " * by
    return fill(text, width, initial_indent=blanks, subsequent_indent=blanks, break_long_words=False)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
