"""The verb `score`: its arguments, its tables for people, its JSON and CSV for machines."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.files import check_writable, explained
from anomaly_bench.cli.arguments import OTHER_FILE, output_file
from data_modules.base.atomic import write_atomic

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from anomaly_bench.scoring.score import ScoreReport

ABOUT = "how well maps that another model made localize anomalies"
DESCRIPTION = """How well anomaly maps localize anomalies, whatever model made them.

Maps and masks are two folders of files with the same names, as maps/a.npy and
masks/a.png: NumPy (.npy, .npz), NIfTI, PNG, TIFF or BMP. In a map, higher is
more anomalous, on any scale; in a mask, not zero is anomalous. docs/score.md
has more."""
EXAMPLE = """--maps maps --masks masks

with normal images without masks, as in MVTec AD:
  anomaly-bench score --maps out/test --masks bottle/ground_truth \\
      --normal 'good/*' --csv bottle.csv
with several files per patient, and other, normal patients for a threshold:
  anomaly-bench score --maps maps --masks masks --normal-maps val_maps \\
      --per-subject '(sub-[0-9]+)' --json scores.json
"""
UNTOLD = ("verb", "debug", "json", "csv", "overwrite")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument_group("files").add_argument
    add("--maps", type=Path, required=True, metavar="DIR", help="anomaly maps; higher = more anomalous")
    add("--masks", type=Path, required=True, metavar="DIR", help="masks of the same names; not zero = anomalous")
    text = (
        "of a mask's grey, from 0 to 1, above which it is anomalous; default: masks that leave no doubt, else refused"
    )
    add("--mask-threshold", type=float, metavar="GREY", help=text)
    add("--normal", action="append", default=[], metavar="GLOB", help="maps at these paths are normal, without a mask")
    add(
        "--missing-mask",
        choices=("stop", "normal"),
        default="stop",
        help="what a map without a mask means, default stop",
    )
    add("--foreground", type=Path, metavar="DIR", help="masks of the pixels that count, e.g. brains; default: all do")
    add("--normal-maps", type=Path, metavar="DIR", help="maps of other, normal images; they set the threshold of dice")
    add = parser.add_argument_group("scoring").add_argument
    add("--fpr", type=float, default=0.05, metavar="SHARE", help="of normal pixels above that threshold, default 0.05")
    add("--per-subject", metavar="REGEX", help="finds the subject in a map's path; default: each file is a subject")
    add(
        "--image-share",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of top pixels in an image's score, default 0.01",
    )
    add(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help="of subjects for 95 %% intervals, default 1000; 0: none",
    )
    add("--exact", action="store_true", help="sort all scores: no bounds, but 4 bytes of memory per pixel")
    add = parser.add_argument_group("output").add_argument
    add("--json", type=output_file, metavar="FILE", help="write everything: metrics, subjects, lesions, thresholds")
    add("--csv", type=output_file, metavar="FILE", help="write the table")
    add("--overwrite", action="store_true", help="replace FILE if it is there already")


def call(options: argparse.Namespace) -> int:
    """Score, print the table, write the files."""
    from anomaly_bench.base.bars import bar

    files = [path for path in (options.json, options.csv) if path is not None]
    if len(files) == 2 and files[0].resolve() == files[1].resolve():
        raise ConfigError(f"--csv {options.csv}: is the file of --json too; give it another name")
    for path in files:
        _check_free(path, options.overwrite)
    from anomaly_bench.scoring.score import score

    with bar("maps", then="intervals") as progress:
        report = score(
            options.maps,
            options.masks,
            options.foreground,
            options.normal_maps,
            normal=options.normal,
            missing_normal=options.missing_mask == "normal",
            mask_threshold=options.mask_threshold,
            per_subject=options.per_subject,
            fpr=options.fpr,
            image_share=options.image_share,
            exact=options.exact,
            resamples=options.resamples,
            progress=progress,
        )
    print_report(report)
    told = {name: value for name, value in vars(options).items() if name not in UNTOLD}
    if options.json is not None:
        _write(options.json, as_json(report, told))
    if options.csv is not None:
        _write(options.csv, as_csv(report))
    for path in files:
        print(f"written: {path}")
    return 0


def _check_free(path: Path, overwrite: bool) -> None:
    """ConfigError if the file is there already, unless it may be replaced; OutputError if its folder is not writable."""
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: is there already; choose another file, or replace it with --overwrite")
    check_writable(path.parent, OTHER_FILE)


def _write(path: Path, text: str) -> None:

    with explained(path.parent, OTHER_FILE):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())


def as_json(report: ScoreReport, settings: Mapping[str, Any]) -> str:
    """Everything as strict JSON: metrics by name, subjects, lesions, thresholds, counts, and the options given.

    An undefined metric's value is null. A threshold that is no finite number is the string "inf", "-inf" or "nan" (no
    pixel is called), which `float` of Python understands.
    """
    document = {
        "metrics": {row.pop("metric"): row for row in report.rows()},
        "threshold": _strict(report.threshold),
        "oracle_threshold": _strict(report.oracle_threshold),
        "counts": report.counts,
        "lesions": report.lesions,
        "subjects": report.subjects,
        "settings": settings,
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False, default=str) + "\n"


def as_csv(report: ScoreReport) -> str:
    """One line per metric; an undefined value is empty."""
    stream, rows = io.StringIO(), report.rows()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def print_report(report: ScoreReport) -> None:
    """The table of metrics, and of lesions if there is a threshold; 80 columns are enough."""
    from rich.console import Console

    console, counts = Console(), report.counts
    share = counts["anomalous_pixels"] / max(counts["pixels"], 1)
    about = f"{counts['files']} maps, {counts['subjects']} subjects, {counts['images']} images"
    _say(console, f"{about}, {counts['pixels']} pixels, {share:.2%} anomalous")
    if counts["anomalous_outside"]:
        _say(console, f"{counts['anomalous_outside']} anomalous pixels lie outside the foreground and do not count")
    console.print(_metrics(report))
    if report.intervals and not any(report.intervals.values()):
        few = "there is one subject alone" if counts["subjects"] == 1 else "the scores crowd too much for these bins"
        _say(console, f"no intervals over subjects: {few}")
    if report.metrics["image_auroc"] is None:
        kind = "normal" if counts["anomalous_images"] else "anomalous"
        _say(console, f"no image metrics: there is no {kind} image")
    _say(console, f"dice_oracle, found on these masks: score >= {number(report.oracle_threshold)}")
    if report.threshold is None:
        _say(console, "no dice at a threshold: give --normal-maps, maps of other, normal images")
        return
    _say(console, f"dice, iou and lesions, found on the normal maps: score >= {number(report.threshold)}")
    console.print(_lesions(report))


def number(score: float | None) -> str:
    """The shortest decimal that is this float32 (or float64, if it is none) and no other."""
    import numpy as np

    if score is None:
        return "-"
    return str(np.float32(score)) if float(np.float32(score)) == score else str(score)


def _metrics(report: ScoreReport) -> Table:
    from rich.table import Table

    table = Table("metric", *(_right(title) for title in ("value", "certified", "95 % over subjects")))
    for row in report.rows():
        if row["value"] is not None or row["metric"] not in ("dice", "iou") or report.threshold is not None:
            texts = (_number(row["value"]), _range(row["low"], row["high"]), _range(row["ci_low"], row["ci_high"]))
            table.add_row(str(row["metric"]), *texts)
    return table


def _lesions(report: ScoreReport) -> Table:
    from rich.table import Table

    found = Table("lesion size in pixels", *(_right(title) for title in ("lesions", "detected", "rate")))
    for lesion in report.lesions:
        total, detected, largest = int(lesion["lesions"] or 0), int(lesion["detected"] or 0), lesion["largest"]
        size = f"{lesion['smallest']} or more" if largest is None else f"{lesion['smallest']}-{largest}"
        found.add_row(size, str(total), str(detected), f"{detected / total:.3f}" if total else "-")
    return found


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _strict(score: float | None) -> float | str | None:
    return score if score is None or math.isfinite(score) else str(score)


def _right(title: str) -> Any:
    from rich.table import Column

    return Column(title, justify="right", no_wrap=True)


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"


def _range(low: Any, high: Any) -> str:
    return "-" if low is None else f"{low:.4f}-{high:.4f}"
