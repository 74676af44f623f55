"""The verb `anomaly-bench score`: its arguments and its files. Imports nothing heavy until it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_bench.base.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_bench.scoring.score import Progress

Make = Callable[..., argparse.ArgumentParser]

ABOUT = """How well anomaly maps localize anomalies, whatever model made them.

Maps and masks are two folders of files with the same names: NumPy (.npy, .npz),
NIfTI, PNG, TIFF or BMP. In a map, higher is more anomalous, on any scale; in a
mask, not zero is anomalous. docs/score.md has more."""
EXAMPLES = """example: maps/a.npy, maps/b.npy … and masks/a.png, masks/b.png …
  anomaly-bench score --maps maps --masks masks

with normal images without masks, as in MVTec AD:
  anomaly-bench score --maps out/test --masks bottle/ground_truth \\
      --normal 'good/*' --csv bottle.csv
with several files per patient, and other, normal patients for a threshold:
  anomaly-bench score --maps maps --masks masks --normal-maps val_maps \\
      --per-subject '(sub-[0-9]+)' --json scores.json
"""


def add_score_verb(verbs: Any, make: Make) -> None:
    """Register `score`; make: how the command line makes the parser of a verb."""
    verb = make(verbs, "score", score_verb, "how well maps that another model made localize anomalies")
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.description, verb.epilog = ABOUT, EXAMPLES
    add = verb.add_argument_group("files").add_argument
    add("--maps", type=Path, required=True, metavar="DIR", help="anomaly maps; higher = more anomalous")
    add("--masks", type=Path, required=True, metavar="DIR", help="masks of the same names; not zero = anomalous")
    add("--normal", action="append", default=[], metavar="GLOB", help="maps at these paths are normal, without a mask")
    add("--missing-mask", choices=("stop", "normal"), default="stop", help="what a map without a mask means")
    add("--foreground", type=Path, metavar="DIR", help="masks of the pixels that count, e.g. brains; default: all do")
    add("--normal-maps", type=Path, metavar="DIR", help="maps of other, normal images; they set the threshold of dice")
    add = verb.add_argument_group("scoring").add_argument
    add("--fpr", type=_share, default=0.05, metavar="SHARE", help="of normal pixels above that threshold, default 0.05")
    add("--per-subject", metavar="REGEX", help="finds the subject in a map's path; default: each file is a subject")
    add(
        "--image-share",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="of top pixels in an image's score, default 0.01",
    )
    add("--resamples", type=_whole, default=1000, metavar="N", help="of subjects for the 95 %% intervals; 0 for none")
    add("--exact", action="store_true", help="sort all scores: no bounds, but 4 bytes of memory per pixel")
    add = verb.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="FILE", help="write everything: metrics, subjects, lesions, thresholds")
    add("--csv", type=Path, metavar="FILE", help="write the table")
    add("--overwrite", action="store_true", help="replace FILE if it is there already")


def score_verb(options: argparse.Namespace) -> int:
    """Score, print the table, write the files."""
    from .score_output import as_csv, as_json, check_free, print_report, write_whole

    files = [path for path in (options.json, options.csv) if path is not None]
    if len(files) == 2 and files[0].resolve() == files[1].resolve():
        raise ConfigError(f"--csv {options.csv}: is the file of --json too; give it another name")
    for path in files:
        check_free(path, options.overwrite)
    from anomaly_bench.scoring.score import score

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
    told = {name: value for name, value in vars(options).items() if name not in UNTOLD}
    if options.json is not None:
        write_whole(options.json, as_json(report, told))
    if options.csv is not None:
        write_whole(options.csv, as_csv(report))
    for path in files:
        print(f"written: {path}")
    return 0


UNTOLD = ("verb", "debug", "json", "csv", "overwrite")


def _whole(text: str) -> int:
    """A whole number of 0 or more, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 0 or more")
    return int(text)


def _share(text: str) -> float:
    """A number in (0, 1], for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a share in (0, 1]")
    return value


@contextmanager
def _bar() -> Iterator[Progress | None]:
    """A progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("maps", total=None)

        def show(done: int, total: int) -> None:
            title = "maps" if done < total else "intervals"
            bars.update(task, completed=done, total=total, description=title)

        yield show
