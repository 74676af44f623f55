"""`--json FILE` of the data verbs: a list with one object for each dataset, store or download that a verb tells of."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STDOUT = "-"
REMEDY = "choose another file (--json FILE)"


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option; its value is None, a file, or - for standard output, where nothing else is then printed."""
    parser.add_argument(
        "--json", metavar="FILE", help="write what is found as JSON, a list of objects; - for standard output, alone"
    )


def check_json(where: str | None) -> None:
    """Raise OutputError, before the work is done, if the file cannot be written."""
    from anomaly_bench.base.files import check_writable

    if where is not None and where != STDOUT:
        check_writable(Path(where).absolute().parent, REMEDY)


def write_json(where: str | None, records: Sequence[dict[str, Any]]) -> None:
    """Write the records, if the option was given."""
    from anomaly_bench.base.files import explained

    if where is None:
        return
    text = json.dumps(list(records), indent=1, default=str) + "\n"
    if where == STDOUT:
        sys.stdout.write(text)
        return
    with explained(Path(where), REMEDY):
        Path(where).write_text(text, encoding="utf-8")
