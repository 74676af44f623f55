"""What several verbs take, and how a verb's file becomes a verb. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType
from typing import Any

from anomaly_bench.base.files import explained
from anomaly_bench.config.folders import CONFIG_DIR_VARIABLE

Verbs = Any  # argparse._SubParsersAction, which is no public name
Records = list[dict[str, Any]]  # what a data verb has found
OTHER_FILE = "choose another file"


def add_verb(verbs: Verbs, verb: ModuleType) -> argparse.ArgumentParser:
    """Register the verb of a file that is named like it; its parser."""
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


def write_text(path: Path, text: str, remedy: str = OTHER_FILE) -> None:
    """Write to what an option names, which may be a device. Raises OutputError naming it and the remedy."""
    with explained(path.parent, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def days(text: str) -> float:
    """A number of days."""
    count = float(text)
    if not count >= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of days, 0 or more")
    return count
