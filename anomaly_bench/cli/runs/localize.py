"""The verb `localize`: its arguments, its table for people, its JSON lines for machines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomaly_bench.cli.arguments import add_run

ABOUT = "apply a finished run to volumes or pictures of your own: maps, segmentations, regions and overlays"
EXAMPLE = """runs/brats-… scan.nii.gz --out maps
several modalities, a folder, pictures, the ensemble of several seeds:
  anomaly-bench localize runs/brats-… flair=a_flair.nii.gz t1=a_t1.nii.gz
  anomaly-bench localize runs/brats-… /data/BraTS2021 --no-overlay
  anomaly-bench localize runs/mvtec-… new/*.png --predictor rec_l1 --mask 'masks/{stem}_mask.png'
  anomaly-bench localize 'runs/*seed*' scan.nii.gz"""
LONGEST = 40  # rows of the table
SHOWN = ("auroc", "ap", "dice")
EXITS = "0 all inputs are done; 2 some could not be used, the others are done"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser, "the folder of a finished run, OUT/<run>; several or a glob: their ensemble over seeds")
    inputs = (
        "files, folders, globs, or MODALITY=FILE for each modality of a scan (and brain=FILE for its brain mask); of volumes "
        "the model sees single slices, such with neighbours or several at once, as the run's dataset.context and depth say"
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=inputs)
    add = parser.add_argument
    add("--out", type=Path, default=Path("maps"), metavar="DIR", help="where the files go, default maps")
    text = "a row of the run; repeatable. Default: the best by AP on validation that uses the model"
    add("--predictor", action="append", default=[], metavar="NAME", help=text)
    text = "masks, for metrics: a file, a folder of the same names, or a pattern with {stem} and {folder} of the input"
    add("--mask", metavar="FILE", help=text)
    text = "look at slices of volumes with less brain than those that the run was trained on, too"
    add("--all-slices", action="store_true", help=text)
    add("--overlay", action=argparse.BooleanOptionalAction, help="draw each input with its map. Default: do")
    add("--overwrite", action="store_true", help="replace files that are there already")
    add("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1, mps or auto, which is the default")
    add("--batch-size", type=_positive, metavar="N", help="images at once. Default: as the run was trained")
    add("--json", action="store_true", help="print a line of JSON for each input in place of the table")


def call(options: argparse.Namespace) -> int:
    """Localize, print what was found. Exit code 2 if an input could not be used."""
    if sys.stderr.isatty():
        print("loading torch and the run …", end="\r", file=sys.stderr, flush=True)
    from anomaly_bench.base.bars import bar
    from anomaly_bench.deployment import localize_files
    from anomaly_bench.deployment.applied import split_runs

    runs, inputs = split_runs([options.run, *options.inputs])
    with bar("localize") as progress:
        outcome = localize_files(
            runs,
            inputs,
            options.out,
            predictors=options.predictor,
            mask=options.mask,
            device=options.device,
            batch_size=options.batch_size,
            all_slices=options.all_slices,
            overlay=options.overlay is not False,
            overwrite=options.overwrite,
            progress=progress,
            done=_print_line if options.json else lambda record: None,
        )
    for note in outcome.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in outcome.problems:
        print(f"anomaly-bench: {problem}", file=sys.stderr)
    if outcome.done and not options.json:
        _print_table(outcome.done, options.out)
    return 2 if outcome.problems else 0


def _print_line(record: Mapping[str, Any]) -> None:
    from anomaly_bench.deployment.outputs import finite

    print(json.dumps(finite(record), ensure_ascii=False), flush=True)


def _print_table(records: Sequence[Mapping[str, Any]], out: Path) -> None:
    """A row per input and predictor."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from anomaly_bench.deployment.outputs import summary_rows

    rows = summary_rows(records)
    unit = {"mm3": "mm³"}.get(rows[0]["unit"], rows[0]["unit"])
    metrics = [name for name in SHOWN if any(row[name] is not None for row in rows)]
    several = ["predictor"] * (len({row["predictor"] for row in rows}) > 1)
    columns = [*several, "score", "higher than", "regions", unit, *metrics]
    heads = (Column(name, justify="right", no_wrap=name != "higher than") for name in columns)
    table = Table(Column("input", overflow="fold"), *heads, box=SIMPLE)
    for row in rows[:LONGEST]:
        place = f"{row['higher_than']:.1%}"
        numbers = [f"{row['image_score']:.3g}", place, f"{row['regions']:,}", f"{row['anomalous']:,.0f}"]
        numbers += ["–" if row[name] is None else f"{row[name]:.3f}" for name in metrics]
        table.add_row(escape(row["name"]), *[row["predictor"]] * len(several), *numbers)
    Console().print(table)
    more = f"; the table has the first {LONGEST} of {len(rows)} rows" if len(rows) > LONGEST else ""
    highest = ", of a volume's highest slice" if unit == "mm³" else ""
    print(f"higher than: share of normal validation images with a lower score{highest}")
    print(f"regions and {unit}: of what is called anomalous")
    print(f"written to {out}, all rows in summary.csv{more}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 1 or more")
    return int(text)
