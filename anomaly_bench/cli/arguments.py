"""What several verbs take, and how a verb's file becomes a verb. Imports nothing heavy."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from anomaly_bench.base.files import explained
from data_modules.base.options.folders import CONFIG_DIR_VARIABLE

from .completers import by_tab, finished_runs, folders_of_runs, overrides

Verbs = Any  # argparse._SubParsersAction, which is no public name
Records = list[dict[str, Any]]  # what a data verb has found
OTHER_FILE = "choose another file"


class HelpFormatter(argparse.HelpFormatter):
    """Wraps a description that is one line, and leaves examples as they are written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


def add_verbs_below(verbs: Verbs, name: str, text: str) -> Verbs:
    """Register a verb that has verbs below it; alone it prints its help."""
    return add_verbs(verbs.add_parser(name, help=text, description=text))


def add_verbs(parser: argparse.ArgumentParser) -> Verbs:
    """The place for the verbs below a parser, which alone prints its help and has exit code 2."""

    def usage(options: argparse.Namespace) -> int:
        del options
        parser.print_help(sys.stderr)
        return 2

    parser.set_defaults(verb=usage, debug=False)
    return parser.add_subparsers(metavar="VERB")


def add_verb(verbs: Verbs, verb: ModuleType) -> argparse.ArgumentParser:
    """Register the verb of a file that is named like it; its parser."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        verb.__name__.rpartition(".")[2], help=verb.ABOUT, description=verb.ABOUT, formatter_class=HelpFormatter
    )
    exits = f"\n\nexit codes: {verb.EXITS}" if hasattr(verb, "EXITS") else ""
    parser.epilog = f"example:\n  {parser.prog} {verb.EXAMPLE}".rstrip() + exits
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(verb=verb.call, command=parser.prog)
    verb.add_arguments(parser)
    return parser


def add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    by_tab(parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=text), overrides)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The folder of several runs that a verb is about."""
    text = "the folder that runs were written to"
    by_tab(parser.add_argument("folder", type=Path, metavar="OUT", help=text), folders_of_runs)


def add_run(parser: argparse.ArgumentParser, text: str = "the folder of a finished run, OUT/<run>") -> None:
    """The folder of one finished run that a verb is about."""
    by_tab(parser.add_argument("run", metavar="RUN", help=text), finished_runs)


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
