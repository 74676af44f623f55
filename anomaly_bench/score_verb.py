"""The verb `anomaly-bench score`: its arguments, its table, its files. Imports nothing heavy until it runs."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .score import Progress, ScoreReport

Make = Callable[..., argparse.ArgumentParser]


def add_score_verb(verbs: Any, make: Make) -> None:
    """Register `score`; make: how the command line makes the parser of a verb."""
    verb = make(verbs, "score", score_verb, "how well maps that another model made localize anomalies")
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.epilog = (
        "examples:\n"
        "  anomaly-bench score --maps maps --masks masks\n"
        "  anomaly-bench score --maps out/test --masks bottle/ground_truth --normal 'good/*'\n"
        "  anomaly-bench score --maps maps --masks masks --normal-maps val_maps --per-subject '(sub-[0-9]+)' --json s.json"
    )
    add = verb.add_argument
    add("--maps", type=Path, required=True, metavar="DIR", help="npy, npz, NIfTI, PNG or TIFF; higher = more anomalous")
    add("--masks", type=Path, required=True, metavar="DIR", help="of the same names; not zero = anomalous")
    add("--foreground", type=Path, metavar="DIR", help="of the same names; not zero = counts. Default: all pixels")
    add("--normal-maps", type=Path, metavar="DIR", help="maps of other, normal images: they set the threshold of dice")
    add("--fpr", type=_share, default=0.05, metavar="SHARE", help="of normal pixels above that threshold, default 0.05")
    add("--normal", action="append", default=[], metavar="GLOB", help="maps of these paths are normal without a mask")
    add("--missing-mask", choices=("stop", "normal"), default="stop", help="what a map without a mask is, default stop")
    add("--per-subject", metavar="REGEX", help="finds the subject in a map's path; default: each file is a subject")
    add("--image-share", type=_share, default=0.01, metavar="SHARE", help="of top pixels in an image's score")
    add("--resamples", type=_count, default=1000, metavar="N", help="of the bootstrap over subjects, 0 for none")
    add("--exact", action="store_true", help="store and sort all scores: no bounds, 4 bytes of memory per pixel")
    add("--json", type=Path, metavar="FILE", help="write everything as JSON")
    add("--csv", type=Path, metavar="FILE", help="write the table as CSV")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text}")
    return number


def score_verb(options: argparse.Namespace) -> int:
    """Score, print the table, write the files."""
    from .score import score

    with _bar() as progress:
        report = score(
            options.maps,
            options.masks,
            options.foreground,
            options.normal_maps,
            normal=options.normal,
            missing_normal=options.missing_mask == "normal",
            per_subject=options.per_subject,
            fpr=options.fpr,
            image_share=options.image_share,
            exact=options.exact,
            resamples=options.resamples,
            progress=progress,
        )
    print_report(report)
    for path, text in ((options.json, as_json), (options.csv, as_csv)):
        if path is not None:
            _write(path, text(report))
    return 0


def as_json(report: ScoreReport) -> str:
    """Metrics by name, subjects, lesions, threshold and counts as strict JSON; an undefined metric's value is null."""
    metrics = {row.pop("metric"): row for row in report.rows()}
    threshold = report.threshold
    if threshold is not None and abs(threshold) == float("inf"):
        threshold = None
    document = {
        "metrics": metrics,
        "threshold": threshold,
        "counts": report.counts,
        "lesions": report.lesions,
        "subjects": report.subjects,
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def as_csv(report: ScoreReport) -> str:
    """One line per metric; an undefined value is empty."""
    stream, rows = io.StringIO(), report.rows()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def print_report(report: ScoreReport) -> None:
    """The table of metrics, and of lesions if there is a threshold."""
    from rich.console import Console
    from rich.table import Table

    console, counts = Console(), report.counts
    share = counts["anomalous_pixels"] / max(counts["pixels"], 1)
    line = f"{counts['files']} maps, {counts['images']} images, {counts['pixels']} pixels, {share:.2%} anomalous"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    table = Table("metric", *(_right(title) for title in ("value", "certified", "95 % over subjects")))
    for row in report.rows():
        if row["value"] is not None or row["metric"] not in ("dice", "iou") or report.threshold is not None:
            texts = (_number(row["value"]), _range(row["low"], row["high"]), _range(row["ci_low"], row["ci_high"]))
            table.add_row(str(row["metric"]), *texts)
    console.print(table)
    if report.threshold is None:
        text = "no dice at a threshold: give --normal-maps, maps of normal images that are not in the test set"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return
    found = Table("lesion size in pixels", *(_right(title) for title in ("lesions", "detected", "rate")))
    for lesion in report.lesions:
        total, detected = int(lesion["lesions"] or 0), int(lesion["detected"] or 0)
        size = (
            f"{lesion['smallest']} or more"
            if lesion["largest"] is None
            else f"{lesion['smallest']}-{lesion['largest']}"
        )
        found.add_row(size, str(total), str(detected), f"{detected / total:.3f}" if total else "-")
    console.print(found)
    console.print(f"threshold {report.threshold:.6g}", highlight=False, markup=False)


def _right(title: str) -> Any:
    from rich.table import Column

    return Column(title, justify="right")


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"


def _range(low: Any, high: Any) -> str:
    return "-" if low is None else f"{low:.4f}-{high:.4f}"


def _share(text: str) -> float:
    """A number in (0, 1], for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a share in (0, 1]")
    return value


def _write(path: Path, text: str) -> None:
    from .output import explained

    with explained(path.parent, "choose another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@contextmanager
def _bar() -> Iterator[Progress | None]:
    """A progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("maps"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("maps", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
