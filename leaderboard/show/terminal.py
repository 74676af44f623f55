"""Sheets and findings on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.results.run_arrays import RunArrays
from leaderboard.show.sheets.over_datasets import BOLD
from leaderboard.show.sheets.sheet import MARKS, NAMED, Sheet
from leaderboard.verdicts.claim import Finding

from .sentences import domains_of, meant, sentence
from .texts import effect_text, part_text, plain, scopes

LINES = 150  # of a view on a terminal, and at least its first table


def bare_table(header: Iterable[str], fold: Collection[str] = (), title: str = "", gap: int = 1) -> Table:
    """An empty table without edges; the columns `fold` fold, no other does; `gap` blanks between columns beyond one."""
    shown = Text(plain(title), style="bold") if title else None
    table = Table(title=shown, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.padding, table.pad_edge = (0, gap, 0, 0), False
    for name in header:
        table.add_column(Text(name), overflow="fold", no_wrap=name not in fold)
    return table


def natural_width(table: Table, console: Console) -> int:
    """The width that a table takes where nothing folds."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def print_sheet(sheet: Sheet, console: Console) -> None:
    """A table, its columns divided among several below each other where the console is narrow; nothing is cut or left out."""
    console.print(Text(plain(sheet.title), style="bold"))
    names = 3 if sheet.header[:3] == NAMED else 1
    part = [*range(names)]
    for column in range(names, len(sheet.header)):
        if len(part) > names and natural_width(_columns(sheet, [*part, column]), console) > console.width:
            _print(_columns(sheet, part), console)
            part = [*range(names)]
        part.append(column)
    _print(_columns(sheet, part), console)
    if sheet.caption:
        caption = sheet.caption if console.is_terminal else sheet.caption.replace(BOLD, ".")
        console.print(Text(plain(caption), style="dim"))


def print_sheets(
    sheets: Sequence[Sheet], console: Console, show: Callable[[Sheet, Console], None] = print_sheet
) -> None:
    """The tables of a view; on a terminal only as many as can be read there, and where the others are."""
    lines = 0
    for at, sheet in enumerate(sheets):
        with console.capture() as captured:
            show(sheet, console)
        lines += captured.get().count("\n")
        if at and console.is_terminal and lines > LINES:
            more = "1 more table" if len(sheets) - at == 1 else f"{len(sheets) - at} more tables"
            console.print(Text(f"… and {more} of this view: --markdown FILE or --html FILE has all.", style="yellow"))
            return
        console.file.write(captured.get())


def _columns(sheet: Sheet, columns: Sequence[int]) -> Table:
    """Some columns of a sheet."""
    table = bare_table(plain(sheet.header[column]) for column in columns)
    for _, row, marks in sheet.lines(range(len(sheet.rows))):
        table.add_row(*(Text(plain(row[column]), MARKS[marks[column]]) for column in columns))
    return table


def _print(table: Table, console: Console) -> None:
    table.width = natural_width(table, console)
    console.print(table, crop=False)


def print_findings(findings: Sequence[Finding], runs: Sequence[RunArrays], console: Console) -> None:
    """A paragraph per claim: what holds of these datasets and of others like them, what would decide it, each dataset."""
    domains = domains_of(runs)
    for one in findings:
        console.print(one.statement, style="bold", highlight=False, markup=False)
        lines = [f"  {plain(sentence(one, domains))}", f"  effect: {meant(one)}"]
        for where, verdict, effect, count, decide in scopes(one):
            lines.append(f"  {where}: {verdict.upper()}, {effect_text(effect, one.difference)}, {count}")
            lines += [f"    would decide it: {decide}"] if decide else []
        if one.parts:
            lines.append(f"  by dataset, {one.part}:")
            width = max(len(plain(name)) for name in one.parts)
            lines += [
                f"    {plain(name):{width}}  {part_text(effect, one.difference)}" for name, effect in one.parts.items()
            ]
        console.print("\n".join(lines), highlight=False, markup=False)
