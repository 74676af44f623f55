"""What several verbs take, and how a verb's file becomes a verb. Imports nothing heavy."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from anomaly_bench.config.folders import CONFIG_DIR_VARIABLE

Verbs = Any  # argparse._SubParsersAction, which is no public name
STDOUT = "-"
OTHER_FILE = "choose another file"
OTHER_JSON = "choose another file (--json FILE)"


class Verb(Protocol):
    """A file that is named like its verb. ABOUT: the line that --help has on it."""

    __name__: str
    ABOUT: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Say what the verb takes."""

    def call(self, options: argparse.Namespace, /) -> int:
        """Do it and print what came of it; returns the exit code."""


def add_verb(verbs: Verbs, verb: Verb) -> argparse.ArgumentParser:
    """Register a verb; its parser."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        verb.__name__.rpartition(".")[2], help=verb.ABOUT, description=verb.ABOUT
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(verb=verb.call)
    verb.add_arguments(parser)
    return parser


def add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=text)


def add_config_dir(parser: argparse.ArgumentParser) -> None:
    """The option by which a verb takes the user's own config folders."""
    text = f"a folder of your own configs: DIR/dataset/my.yaml is dataset=my; repeatable; or set {CONFIG_DIR_VARIABLE}"
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help=text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json` of the data verbs: a list with one object for each dataset, store or download that a verb tells of.

    Its value is None, a file, or - for standard output, where nothing else is then printed.
    """
    parser.add_argument(
        "--json", metavar="FILE", help="write what is found as JSON, a list of objects; - for standard output, alone"
    )


def check_json(where: str | None) -> None:
    """Raise OutputError, before the work is done, if the file cannot be written."""
    from anomaly_bench.base.files import check_writable

    if where is not None and where != STDOUT:
        check_writable(Path(where).absolute().parent, OTHER_JSON)


def write_json(where: str | None, records: Sequence[dict[str, Any]]) -> None:
    """Write the records, if the option was given."""
    if where is None:
        return
    text = json.dumps(list(records), indent=1, default=str) + "\n"
    if where == STDOUT:
        sys.stdout.write(text)
    else:
        write_text(Path(where), text, OTHER_JSON)


def write_text(path: Path, text: str, remedy: str = OTHER_FILE) -> None:
    """Write to what an option names, which may be a device. Raises OutputError naming it and the remedy."""
    from anomaly_bench.base.files import explained

    with explained(path.parent, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def whole(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 0 or more")
    return int(text)


def share(text: str) -> float:
    """A number in (0, 1]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a share in (0, 1]")
    return value


def days(text: str) -> float:
    """A number of days."""
    count = float(text)
    if not count >= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of days, 0 or more")
    return count
