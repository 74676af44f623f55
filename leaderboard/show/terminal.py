"""Sheets and findings on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.verdicts.claim import Finding

from .sheets import Sheet
from .texts import plain


def bare_table(title: Text | None = None, gap: int = 1) -> Table:
    """An empty table without edges; `gap` blanks between its columns beyond one."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.padding, table.pad_edge = (0, gap, 0, 0), False
    return table


def print_sheet(sheet: Sheet, console: Console) -> None:
    """A table whose lines run over the edge where the terminal is narrow; nothing is cut or left out."""
    console.print(Text(plain(sheet.title), style="bold"))
    table = bare_table()
    for name in sheet.header:
        table.add_column(Text(plain(name)), no_wrap=True)
    for row in sheet.rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    table.width = console.measure(table, options=console.options.update(width=10_000)).maximum
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
