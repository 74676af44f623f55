"""What several verbs take, and how a verb's file becomes a verb. Imports nothing heavy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.files import explained
from anomaly_bench.base.text import harmless
from data_modules.base.errors import did_you_mean
from data_modules.base.options.folders import CONFIG_DIR_VARIABLE

from .completers import by_tab, finished_runs, folders_of_runs, overrides

Verbs = Any  # argparse._SubParsersAction, which is no public name
Records = list[dict[str, Any]]  # what a data verb has found
OTHER_FILE = "choose another file"
USUAL_EXITS = "0 done; 2 something to mend, named in one line"


class HelpFormatter(argparse.HelpFormatter):
    """Wraps a description that is one line, and leaves examples as they are written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with its arguments, and which name is the closest; exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(harmless(message).split())}\n")

    def refuse(self, rest: Sequence[str]) -> NoReturn:
        """Of arguments that it does not take, the first option or else the first."""
        word = next((text for text in rest if text.startswith("-")), rest[0]).partition("=")[0]
        if not word.startswith("-"):
            self.error(f"{word}: one argument too many; {self.prog} --help lists what it takes")
        options = [option for action in self._actions for option in action.option_strings]
        self.error(f"{word}: no such option; {did_you_mean(word, options, f'{self.prog} --help lists them')}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name, kind = " ".join([*action.option_strings[:1], str(value)]), str(action.metavar or "value").lower()
            many = f"{self.prog} --help lists them" if isinstance(action, argparse._SubParsersAction) else ""
            hint = did_you_mean(str(value), action.choices, many)
            raise argparse.ArgumentError(None, f"{name}: no such {kind}; {hint}")


def add_verbs_below(verbs: Verbs, name: str, text: str) -> Verbs:
    """Register a verb that has verbs below it; alone it prints its help."""
    return add_verbs(verbs.add_parser(name, help=text, description=text))


def add_verbs(parser: Parser) -> Verbs:
    """The place for the verbs below a parser, which alone prints its help and has exit code 2."""

    def usage(options: argparse.Namespace) -> int:
        del options
        parser.print_help(sys.stderr)
        return 2

    parser.set_defaults(verb=usage, debug=False, parser=parser)
    return parser.add_subparsers(metavar="VERB")


def add_verb(verbs: Verbs, verb: ModuleType) -> argparse.ArgumentParser:
    """Register the verb of a file that is named like it; its parser."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        verb.__name__.rpartition(".")[2], help=verb.ABOUT, description=verb.ABOUT, formatter_class=HelpFormatter
    )
    exits = getattr(verb, "EXITS", USUAL_EXITS)
    parser.epilog = f"example:\n  {parser.prog} {verb.EXAMPLE}".rstrip() + f"\n\nexit codes: {exits}"
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(verb=verb.call, command=parser.prog, parser=parser)
    verb.add_arguments(parser)
    return parser


def add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    by_tab(parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=text), overrides)


def check_once(overrides: Sequence[str], jobs: int | None = None) -> None:
    """Raises ConfigError for a key that is given two values, of which the last would count; jobs: that of --jobs."""
    given = {} if jobs is None else {"jobs": f"jobs={jobs}"}
    for text in overrides:
        first = given.setdefault(text.partition("=")[0].lstrip("+"), text)
        if first != text:
            raise ConfigError(f"{first} {text}: a key is given twice; leave one out")


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
    """Write to what an option names, which may be a device or a pipe. Raises OutputError naming it and the remedy."""
    with explained(path.parent, remedy), suppress(BrokenPipeError):  # whoever reads may stop when they like
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def output_file(text: str) -> Path:
    """A file that an option names for what is to be written, refused before any work where it cannot be one."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a folder; give the name of a file in it")
    return Path(text)


def days(text: str) -> float:
    """A number of days."""
    count = float(text)
    if not count >= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of days, 0 or more")
    return count
