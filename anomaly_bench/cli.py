"""The command line: one verb, then overrides."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .data_verbs import add_data_verbs
from .options import add_config_dir, searching
from .score_verb import add_score_verb

OVERRIDES = "group=option or key=value, e.g. dataset=brats dataset.root=/data/BraTS model.beta=4 seed=1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb. Exit codes: 0 done, 1 worse than the baseline or a run failed, 2 the user can mend it, 130 interrupted."""
    options = _parse(arguments)
    # Threads that spin while they wait starve each other on a machine that others use too (benchmarks/contention.py).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        with searching(getattr(options, "config_dir", [])):
            return verb(options)
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished is kept: start the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if options.debug or not is_users(error):
            raise
        print(f"anomaly-bench: {error}{_hint(options, error)}", file=sys.stderr)
        return 2


def is_users(error: Exception) -> bool:
    """Whether the user can mend it, so that a message is all they need."""
    from data_modules.errors import DataError
    from leaderboard.record import ResultError

    from .errors import ConfigError, OutputError

    return isinstance(error, ConfigError | DataError | OutputError | ResultError)


def _hint(options: argparse.Namespace, error: Exception) -> str:
    """A run stops at the first problem of its data; who wants to know of all at once is told how."""
    from data_modules.errors import DataError

    stopped = isinstance(error, DataError) and getattr(options, "overrides", None) is not None
    return " (`anomaly-bench data verify` with the same dataset lists all problems)" if stopped else ""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Overrides may stand before and after options, which argparse alone does not allow below a verb."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "overrides") or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="anomaly-bench", description="Benchmark of unsupervised anomaly localization with VAEs and beta-VAEs."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    run = _verb(verbs, "run", run_verb, "train one model, localize with every predictor, print its table")
    bench = _verb(
        verbs, "bench", bench_verb, "all runs of a grid (key=a,b or seed=range(3)), then the leaderboard; resumable"
    )
    for verb in (run, bench):
        verb.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDES)
        verb.add_argument("--cfg", action="store_true", help="print the composed config and stop")
        add_config_dir(verb)
    board = _verb(verbs, "leaderboard", leaderboard_verb, "tables of the results in a folder")
    board.add_argument("folder", type=Path, help="the folder that runs were written to")
    check = _verb(verbs, "check", check_verb, "compare results with a baseline; exit code 1 when worse")
    check.add_argument("folder", type=Path, help="the folder that runs were written to")
    check.add_argument(
        "--baseline", type=Path, action="append", required=True, metavar="FILE", help="may be given several times"
    )
    check.add_argument("--update", action="store_true", help="write the results to the baseline instead")
    add_data_verbs(verbs, _verb)
    add_score_verb(verbs, _verb)
    _verb(verbs, "doctor", doctor_verb, "versions, devices, disk and embedded data, in one look")
    return parser


def run_verb(options: argparse.Namespace) -> int:
    from .config import expand, load_config, to_yaml
    from .errors import ConfigError

    grid = expand(options.overrides)
    if len(grid) > 1:
        raise ConfigError(f"these overrides make {len(grid)} runs; `anomaly-bench bench` does several")
    if options.cfg:
        print(to_yaml(load_config(grid[0])), end="")
        return 0
    return bench_verb(options)


def bench_verb(options: argparse.Namespace) -> int:
    from .config import expand, load_config, to_yaml

    if options.cfg:
        print("---\n".join(to_yaml(load_config(combination)) for combination in expand(options.overrides)), end="")
        return 0
    if sys.stderr.isatty():
        print("loading torch and Lightning …", end="\r", file=sys.stderr, flush=True)
    from .sweep import bench

    outcome = bench(options.overrides)
    _show(outcome.out, outcome.run_ids)
    if outcome.wandb:
        print(f"W&B       {outcome.out}/<run>/wandb; offline runs are pushed with `wandb sync FOLDER`")
    for job in outcome.failed:
        print(f"failed: {job.title}; why: {job.folder / 'failure.txt'}", file=sys.stderr)
    return 1 if outcome.failed else 0


def leaderboard_verb(options: argparse.Namespace) -> int:
    _show(options.folder, None)
    return 0


def check_verb(options: argparse.Namespace) -> int:
    from rich.console import Console

    from leaderboard.aggregate import aggregate
    from leaderboard.check import compare, diff_table, make_baseline, read_baseline, write_baseline
    from leaderboard.collect import collect, newest_sweep

    collection = collect(options.folder, newest_sweep(options.folder))
    _warn(collection.damaged)
    rows = aggregate(collection)
    console, worse = Console(), bool(collection.damaged)
    found = f"{len(collection.results)} of {len(collection.planned)} runs of the newest sweep in {options.folder}"
    console.print(found, highlight=False, markup=False, soft_wrap=True)
    for path in options.baseline:
        of_dataset = [row for row in rows if row.dataset == path.stem]
        if options.update:
            write_baseline(make_baseline(of_dataset, "make check"), path)
            console.print(f"{path}: written", highlight=False, markup=False)
            continue
        verdicts = compare(of_dataset, read_baseline(path))
        diff_table(verdicts, console)
        worse = worse or any(verdict.failed for verdict in verdicts)
    return 1 if worse else 0


def doctor_verb(options: argparse.Namespace) -> int:
    from .doctor import examine

    del options
    return examine()


def _show(folder: Path, only: set[str] | None) -> None:
    """Print the leaderboard of some runs (or all), and write that of the whole folder as Markdown and CSV."""
    from rich.console import Console

    from leaderboard.aggregate import aggregate
    from leaderboard.categories import by_category, csv_categories, markdown_categories, print_categories
    from leaderboard.collect import collect
    from leaderboard.tables import csv, markdown, print_tables

    from .output import explained

    collection = collect(folder)
    _warn(collection.damaged)
    rows = aggregate(collection)
    console = Console()
    shown = collection if only is None else collect(folder, only)
    print_tables(aggregate(shown), console)
    print_categories(by_category(shown.results, "auroc"), "auroc", console)
    categories = {metric: by_category(collection.results, metric) for metric in ("auroc", "aupro", "ap", "image_auroc")}
    with explained(folder):
        tables = [markdown(rows), *(markdown_categories(found, metric) for metric, found in categories.items())]
        (folder / "leaderboard.md").write_text("\n".join(filter(None, tables)))
        (folder / "leaderboard.csv").write_text(csv(rows))
        if categories["auroc"]:
            (folder / "categories.csv").write_text(csv_categories(categories))
    lines = (
        f"Tables    {folder}/leaderboard.md, {folder}/leaderboard.csv (all runs in {folder})",
        f"Runs      {folder}/<run>/result.json, config.yaml, split.json, metrics.csv, model.ckpt",
        f"Pictures  {folder}/<run>/pictures/overview.png and one per predictor",
    )
    console.print("\n" + "\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _warn(damaged: Sequence[str]) -> None:
    for message in damaged:
        print(f"left out: {message}", file=sys.stderr)


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    call: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(verb=call)
    return parser


if __name__ == "__main__":
    sys.exit(main())
