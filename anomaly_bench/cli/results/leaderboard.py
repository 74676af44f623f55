"""The verb `leaderboard`: tables, views and figures of the results in a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_bench.base.errors import ConfigError, OutputError
from anomaly_bench.base.files import OUT, explained
from anomaly_bench.base.text import harmless
from anomaly_bench.cli.arguments import add_folder, output_file, write_text
from anomaly_bench.cli.completers import by_tab
from leaderboard.record import CRITERIA, MARGIN, METRICS
from leaderboard.results.published import SHIPPED, Reported, read_reported

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboard.board import Board
    from leaderboard.results.collect import Collection

ABOUT = "tables, views and figures of the results in a folder"
EXAMPLE = "runs --view beta --html report.html"
VIEWS = (
    "settings", "predictors", "reported", "beta", "chosen", "selection", "ranks", "domains", "smoothing", "versus",
    "subjects", "attributes", "lesions", "speed", "claims",
)  # fmt: skip

OTHERS = "name files elsewhere with --markdown and --csv"
BY = ("validation", *CRITERIA)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--view", action="append", choices=(*VIEWS, "all"), default=[], help="print this view as well")
    for name in ("markdown", "csv", "json", "latex", "html"):
        parser.add_argument(f"--{name}", type=output_file, metavar="FILE", help=f"write everything as {name}")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write figures as PNG, SVG and PDF")
    parser.add_argument(
        "--long",
        type=Path,
        metavar="DIR",
        help="write every value of runs, of subjects and of images as CSV and Parquet",
    )
    parser.add_argument("--published", type=Path, metavar="FILE", help="figures of papers besides those shipped (YAML)")
    parser.add_argument("--wandb", action="store_true", help="log it all as one W&B run (offline without a login)")
    margin = f"the difference to the best up to which a row is equivalent, default {MARGIN:g}"
    parser.add_argument("--margin", type=float, default=MARGIN, metavar="M", help=margin)
    choose = (
        "what chooses each predictor's setting, default validation: its labels, or synthetic_ap where there are none"
    )
    parser.add_argument("--choose-by", choices=BY, default=BY[0], metavar="NAME", help=choose)
    add_metric(parser)


def add_metric(parser: argparse.ArgumentParser) -> None:
    text = "the metric that claims are held against, default auroc"
    by_tab(parser.add_argument("--metric", default="auroc", metavar="NAME", help=text), lambda **_: [*METRICS])


def call(options: argparse.Namespace) -> int:
    """Tables of all runs of a folder, and what the options ask for."""

    if not 0 <= options.margin < 1:
        raise ConfigError(
            f"--margin {options.margin:g}: expected a difference of a metric, at least 0 and below 1, such as {MARGIN:g}"
        )
    if options.wandb:
        from anomaly_bench.tracking.wandb.start import check_environment

        check_environment()
    reported = [row for path in (SHIPPED, options.published) if path is not None for row in read_reported(path)]
    board, tables = show(
        options.folder,
        None,
        reported,
        options.metric,
        VIEWS if "all" in options.view else options.view,
        options.margin,
        options.choose_by,
        must_write=False,
    )
    written = _documents(board, options)
    if options.figures:
        from leaderboard.show.figures.write import write_figures

        with explained(options.figures, "choose another folder for --figures"):
            drawn = write_figures(board, options.figures)
        print(f"wrote     {len(drawn)} figures to {options.figures}")
    if options.long:
        from leaderboard.results.long import images_of, write_long

        with explained(options.long, "choose another folder for --long"):
            written += write_long(board.runs, options.long)
        if lacking := sum(images_of(one) is None for one in board.runs):
            print(f"images    {lacking} of {len(board.runs)} runs have no images.csv: they are of an earlier revision")
    for path in written:
        print(f"wrote     {path}")
    if options.wandb:
        from anomaly_bench.tracking.wandb.leaderboard import log_leaderboard

        figures = sorted(options.figures.glob("*.png")) if options.figures else []
        print(log_leaderboard(options.folder, board, [*tables, *written, *figures]))
    return 0


def _documents(board: Board, options: argparse.Namespace) -> list[Path]:
    """Write the files that the options name; their paths."""
    from leaderboard.report import html_report
    from leaderboard.show.exports import board_json, board_markdown, csv
    from leaderboard.show.latex import latex

    writers: dict[str, Callable[[Board], str]] = {
        "markdown": board_markdown,
        "csv": lambda board: csv(board.rows),
        "json": board_json,
        "latex": latex,
        "html": html_report,
    }
    paths = {name: path for name in writers if (path := getattr(options, name)) is not None}
    for name, path in paths.items():
        write_text(path, writers[name](board))
    return [*paths.values()]


def show(
    folder: Path,
    only: set[str] | None,
    reported: Sequence[Reported] = (),
    metric: str = "auroc",
    views: Sequence[str] = (),
    margin: float = MARGIN,
    by: str = BY[0],
    must_write: bool = True,
) -> tuple[Board, list[Path]]:
    """Print the leaderboard of some runs (or all), and write that of the whole folder as Markdown and CSV.

    must_write: OutputError if the folder is not writable, where it is else a warning. Returns the folder's board, and the files
    that were written.
    """
    from rich.console import Console

    from leaderboard.board import build
    from leaderboard.results.collect import collect
    from leaderboard.show.categories import print_categories
    from leaderboard.show.sheets.over_datasets import leading_sheets
    from leaderboard.show.sheets.views import sheets
    from leaderboard.show.tables import print_fitting, print_tables, setting_sheets
    from leaderboard.show.terminal import print_findings, print_sheets

    collection = collect(folder)
    warn(collection.damaged, collection.failed if only is None else {})
    board = build(collection, reported, checked(metric, collection), margin, by)
    console = Console()
    shown = board if only is None else build(collection.of(only), margin=margin, by=by)
    print_sheets([] if "predictors" in views else leading_sheets(shown), console)
    print_tables(shown.main, console)
    print_categories(shown.categories["auroc"], "auroc", console)
    for view in dict.fromkeys([*(["reported"] if board.reported else []), *views]):
        if view == "claims":
            print_findings(board.findings, board.runs, console)
            continue
        if view == "settings":
            print_sheets(setting_sheets(board), console, print_fitting)
        else:
            print_sheets(sheets(board, [view]), console)
    tables = []
    try:
        tables = _write_tables(board, folder, OUT if must_write else OTHERS)
    except OutputError as error:
        if must_write:
            raise
        print(f"not written: {harmless(str(error))}", file=sys.stderr)
    _print_places(folder, tables, console)
    return board, tables


def _print_places(folder: Path, tables: Sequence[Path], console: Console) -> None:
    lines = (
        *[f"Tables    {', '.join(map(str, tables))} (all runs in {folder})"] * bool(tables),
        f"Runs      {folder}/<run>/result.json, config.yaml, split.json, metrics.csv, run.log, model.ckpt, calibration.npz, "
        "images.csv",
        f"Pictures  {folder}/<run>/pictures/overview.png and one per predictor",
    )
    console.print("\n" + "\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _write_tables(board: Board, folder: Path, remedy: str) -> list[Path]:
    """leaderboard.md and leaderboard.csv in the runs folder, whose paths are returned, and categories.csv.

    Nothing in them depends on the clock. Raises OutputError with the remedy.
    """
    from leaderboard.show.categories import csv_categories
    from leaderboard.show.exports import csv, tables_markdown

    tables = [folder / "leaderboard.md", folder / "leaderboard.csv"]
    for path, text in zip(tables, (tables_markdown(board), csv(board.rows)), strict=True):
        write_text(path, text, remedy)
    if board.categories["auroc"]:
        write_text(folder / "categories.csv", csv_categories(board.categories), remedy)
    return tables


def checked(metric: str, collection: Collection) -> str:
    """The metric's name; ConfigError for one that is not known and no run has as its user's own."""
    known = dict.fromkeys([*METRICS, *(name for run in collection.results for name in run.metrics)])
    if metric not in known:
        raise ConfigError(f"--metric {metric}: expected one of {', '.join(known)}")
    return metric


def warn(damaged: Sequence[str], failed: Mapping[str, str] | None = None) -> None:
    """Say on standard error which results are left out, which runs failed, and why."""
    from leaderboard.show.texts import plain

    for message in damaged:
        print(f"left out: {plain(message)}", file=sys.stderr)
    for run, why in (failed or {}).items():
        print(f"failed: {plain(f'{run}: {why}')}", file=sys.stderr)
