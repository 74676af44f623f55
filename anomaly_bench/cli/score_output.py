"""A score as tables for people, and as JSON and CSV for machines."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.files import check_writable, explained

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from anomaly_bench.scoring.score import ScoreReport

OTHER_FILE = "choose another file"


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


def check_free(path: Path, overwrite: bool) -> None:
    """ConfigError if the file is there already, unless it may be replaced; OutputError if its folder is not writable."""
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the name of a file in it")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: is there already; choose another file, or replace it with --overwrite")
    check_writable(path.parent, OTHER_FILE)


def write_whole(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    with explained(path.parent, OTHER_FILE), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.name
        with whole.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        whole.replace(path)


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
