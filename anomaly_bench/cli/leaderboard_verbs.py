"""The verbs that read results: leaderboard, claims and check."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboard.board import Board
    from leaderboard.results.published import Reported

AddVerb = Callable[..., argparse.ArgumentParser]
VIEWS = (
    "reported", "beta", "chosen", "ranks", "domains", "versus", "subjects", "attributes", "lesions", "speed", "claims",
)  # fmt: skip


def add_leaderboard_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser], add: AddVerb) -> None:
    """Add `leaderboard`, `claims` and `check`; imports nothing heavy."""
    board = add(verbs, "leaderboard", leaderboard_verb, "tables, views and figures of the results in a folder")
    _folder(board)
    board.add_argument("--view", action="append", choices=(*VIEWS, "all"), default=[], help="print this view as well")
    for name in ("markdown", "csv", "json", "latex", "html"):
        board.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write everything as {name}")
    board.add_argument("--figures", type=Path, metavar="DIR", help="write figures as PNG, SVG and PDF")
    board.add_argument("--published", type=Path, metavar="FILE", help="figures of papers besides those shipped (YAML)")
    board.add_argument("--wandb", action="store_true", help="log it all as one W&B run (offline without a login)")
    _metric(board)
    claims = add(verbs, "claims", claims_verb, "what the results in a folder say about the paper's statements")
    _folder(claims)
    claims.add_argument("--json", type=Path, metavar="FILE", help="write the findings as JSON")
    _metric(claims)
    check = add(verbs, "check", check_verb, "compare results with a baseline; exit code 1 when worse")
    _folder(check)
    check.add_argument(
        "--baseline", type=Path, action="append", required=True, metavar="FILE", help="may be given several times"
    )
    check.add_argument("--update", action="store_true", help="write the results to the baseline instead")
    check.add_argument("--junit", type=Path, metavar="FILE", help="write the verdicts as JUnit XML")


def _folder(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, help="the folder that runs were written to")


def _metric(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--metric", default="auroc", help="the metric that claims are held against (auroc)")


def leaderboard_verb(options: argparse.Namespace) -> int:
    """Tables of all runs of a folder, and what the options ask for."""
    from leaderboard.results.published import SHIPPED, read_reported

    reported = [row for path in (SHIPPED, options.published) if path is not None for row in read_reported(path)]
    board = show(options.folder, None, reported, options.metric, VIEWS if "all" in options.view else options.view)
    written = _documents(board, options)
    if options.figures:
        from anomaly_bench.base.files import explained
        from leaderboard.show.figures import write_figures

        with explained(options.figures, "choose another folder for --figures"):
            drawn = write_figures(board, options.figures)
        print(f"wrote     {len(drawn)} figures to {options.figures}")
    for path in written:
        print(f"wrote     {path}")
    if options.wandb:
        from anomaly_bench.tracking.wandb.leaderboard import log_leaderboard

        tables = [options.folder / name for name in ("leaderboard.md", "leaderboard.csv")]
        figures = sorted(options.figures.glob("*.png")) if options.figures else []
        print(log_leaderboard(options.folder, board, [*tables, *written, *figures]))
    return 0


def _documents(board: Board, options: argparse.Namespace) -> list[Path]:
    """Write the files that the options name; their paths."""
    from leaderboard.report import html_report
    from leaderboard.show.exports import board_json, board_markdown, csv
    from leaderboard.show.latex import latex

    writers: dict[str, Callable[[], str]] = {
        "markdown": lambda: board_markdown(board),
        "csv": lambda: csv(board.rows),
        "json": lambda: board_json(board),
        "latex": lambda: latex(board),
        "html": lambda: html_report(board),
    }
    paths = {name: getattr(options, name) for name in writers}
    for name, path in paths.items():
        if path is not None:
            _write(path, writers[name]())
    return [path for path in paths.values() if path is not None]


def show(
    folder: Path,
    only: set[str] | None,
    reported: Sequence[Reported] = (),
    metric: str = "auroc",
    views: Sequence[str] = (),
) -> Board:
    """Print the leaderboard of some runs (or all), and write that of the whole folder as Markdown and CSV; its board."""
    from rich.console import Console

    from leaderboard.board import build
    from leaderboard.results.collect import collect
    from leaderboard.rows.aggregate import aggregate
    from leaderboard.rows.categories import by_category
    from leaderboard.show.categories import print_categories
    from leaderboard.show.sheets import sheets
    from leaderboard.show.tables import print_tables
    from leaderboard.show.terminal import print_findings, print_sheet

    collection = collect(folder)
    warn(collection.damaged, collection.failed if only is None else {})
    board = build(collection, reported, checked(metric))
    console = Console()
    if only is None:
        rows, categories = board.rows, board.categories["auroc"]
    else:
        shown = collection.of(only)
        rows, categories = aggregate(shown), by_category(shown.results, "auroc")
    print_tables(rows, console)
    print_categories(categories, "auroc", console)
    for view in dict.fromkeys([*(["reported"] if board.reported else []), *views]):
        if view == "claims":
            print_findings(board.findings, console)
            continue
        for sheet in sheets(board, [view]):
            print_sheet(sheet, console)
    _write_tables(board, folder)
    _print_places(folder, console)
    return board


def _print_places(folder: Path, console: Console) -> None:
    lines = (
        f"Tables    {folder}/leaderboard.md, {folder}/leaderboard.csv (all runs in {folder})",
        f"Runs      {folder}/<run>/result.json, config.yaml, split.json, metrics.csv, model.ckpt",
        f"Pictures  {folder}/<run>/pictures/overview.png and one per predictor",
    )
    console.print("\n" + "\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _write_tables(board: Board, folder: Path) -> None:
    """leaderboard.md, leaderboard.csv and categories.csv in the runs folder; nothing in them depends on the clock."""
    from leaderboard.show.categories import csv_categories, markdown_categories
    from leaderboard.show.exports import csv, markdown

    tables = [markdown(board.rows), *(markdown_categories(found, name) for name, found in board.categories.items())]
    _write(folder / "leaderboard.md", "\n".join(filter(None, tables)))
    _write(folder / "leaderboard.csv", csv(board.rows))
    if board.categories["auroc"]:
        _write(folder / "categories.csv", csv_categories(board.categories))


def claims_verb(options: argparse.Namespace) -> int:
    """The findings on all runs of a folder."""
    import dataclasses
    import json

    from rich.console import Console

    from leaderboard.results.collect import collect
    from leaderboard.rows.aggregate import aggregate
    from leaderboard.show.terminal import print_findings
    from leaderboard.verdicts.claims import evaluate

    collection = collect(options.folder)
    warn(collection.damaged)
    findings = evaluate(aggregate(collection), checked(options.metric))
    print_findings(findings, Console())
    if options.json:
        text = json.dumps([dataclasses.asdict(one) for one in findings], ensure_ascii=False, allow_nan=False, indent=1)
        _write(options.json, text + "\n")
    return 0


def check_verb(options: argparse.Namespace) -> int:
    """The newest sweep of a folder against baselines."""
    from rich.console import Console

    from leaderboard.results.collect import collect, newest_sweep
    from leaderboard.rows.aggregate import aggregate
    from leaderboard.show.check import diff_table, junit, step_summary
    from leaderboard.verdicts.check import (
        Checked,
        compare,
        make_baseline,
        read_baseline,
        setting_changes,
        write_baseline,
    )

    collection = collect(options.folder, newest_sweep(options.folder))
    warn(collection.damaged)
    rows = aggregate(collection)
    console, checks = Console(), []
    found = f"{len(collection.results)} of {len(collection.planned)} runs of the newest sweep in {options.folder}"
    console.print(found, highlight=False, markup=False, soft_wrap=True)
    for path in options.baseline:
        if options.update:
            dataset, metric = updated(path)
            of_dataset = [row for row in rows if row.dataset == dataset]
            write_baseline(make_baseline(of_dataset, "make check", metric), path)
            console.print(f"{path}: written", highlight=False, markup=False)
            continue
        baseline = read_baseline(path)
        of_dataset = [row for row in rows if row.dataset == baseline.dataset]
        checks.append(Checked(baseline, compare(of_dataset, baseline), setting_changes(of_dataset, baseline)))
        diff_table(checks[-1], console)
    if options.junit:
        _write(options.junit, junit(checks, collection.damaged))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(step_summary(checks, collection.damaged))
    return 1 if collection.damaged or any(check.failed for check in checks) else 0


def updated(path: Path) -> tuple[str, str]:
    """Dataset and metric of a baseline that is written anew: the older file's; a new one's, by its name and pixel AUROC."""
    from leaderboard.verdicts.check import read_baseline

    if not path.exists():
        return path.stem, "auroc"
    baseline = read_baseline(path)
    return baseline.dataset, baseline.metric


def checked(metric: str) -> str:
    """The metric's name; ConfigError for one that is not known."""
    from anomaly_bench.base.errors import ConfigError
    from leaderboard.record import METRICS

    if metric not in METRICS:
        raise ConfigError(f"--metric {metric}: expected one of {', '.join(METRICS)}")
    return metric


def warn(damaged: Sequence[str], failed: Mapping[str, str] | None = None) -> None:
    """Say on standard error which results are left out, which runs failed, and why."""
    from leaderboard.show.texts import plain

    for message in damaged:
        print(f"left out: {plain(message)}", file=sys.stderr)
    for run, why in (failed or {}).items():
        print(f"failed: {plain(f'{run}: {why}')}", file=sys.stderr)


def _write(path: Path, text: str) -> None:
    from anomaly_bench.base.files import explained

    with explained(path.parent, "choose another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
