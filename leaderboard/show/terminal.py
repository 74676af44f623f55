"""Sheets and findings on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.verdicts.claim import Finding

from .sheets import Sheet
from .texts import plain


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
    """A table whose lines run over the edge where the terminal is narrow; nothing is cut or left out."""
    console.print(Text(plain(sheet.title), style="bold"))
    table = bare_table(map(plain, sheet.header))
    for row in sheet.rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    table.width = natural_width(table, console)
    console.print(table, crop=False)
    if sheet.caption:
        console.print(Text(plain(sheet.caption), style="dim"))


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """A paragraph per claim: verdict, effect with interval and n, and what would decide it."""
    for one in findings:
        effect = one.effect
        console.print(f"{one.verdict.upper()}: {one.statement}", style="bold", highlight=False, markup=False)
        value = "–" if effect.value is None else f"{effect.value:+.3f}"
        bounds = "no interval" if effect.low is None else f"95 % interval {effect.low:+.3f} to {effect.high:+.3f}"
        lines = [f"  {value} ({bounds}), {effect.n} {one.units}, {one.metric}", f"  effect: {one.meaning}"]
        lines += [f"  would decide it: {one.decide}"] if one.decide else []
        console.print("\n".join(lines), highlight=False, markup=False)
