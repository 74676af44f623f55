"""The command line: one verb, then overrides."""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from anomaly_bench.base.errors import is_users
from anomaly_bench.base.revision import git_revision
from anomaly_bench.base.text import harmless
from data_modules.base.errors import DataError, NoSpaceError
from data_modules.base.options.folders import searching

from . import completion, config, data, doctor, wandb
from .arguments import Parser, add_verb, add_verbs, check_once
from .results import check, claims, leaderboard, score
from .runs import bench, cancel, ensemble, export, localize, paper, retry, run, status, tune
from .stopping import Stop, stoppable
from .streams import outlasting_streams
from .wandb import dashboard


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Exit codes: 0 done, 1 worse than the baseline or a run failed, 2 the user can mend it, 130
    or 143 stopped by Ctrl-C or SIGTERM.
    """
    with outlasting_streams(), stoppable() as stop:
        try:
            code = _carry_out(arguments, stop)
            return stop.code if stop.number not in (0, signal.SIGINT) else code
        except KeyboardInterrupt:
            stop.tell()
            return stop.code


def _carry_out(arguments: Sequence[str] | None, stop: Stop) -> int:
    options = _parse(arguments)
    stop.about(options)
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # no process that this one starts imports from the working folder
    # Threads that spin while they wait starve each other on a machine that others use too (benchmarks/contention.py).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        with searching(getattr(options, "config_dir", [])):
            check_once(getattr(options, "overrides", []), getattr(options, "jobs", None))
            return verb(options)
    except Exception as error:
        if options.debug or not is_users(error):
            raise
        said = harmless(f"anomaly-bench: {error}{_hint(options, error)}")
        print(re.sub(r"\s*[\r\n]+\s*(?!- )", " ", said), file=sys.stderr)  # one line, but for a list
        return 2


def _hint(options: argparse.Namespace, error: Exception) -> str:
    """A run stops at the first problem of its data; who wants to know of all at once is told how."""

    of_data = isinstance(error, DataError) and not isinstance(error, NoSpaceError)
    stopped = of_data and getattr(options, "overrides", None) is not None
    return " (`anomaly-bench data verify` with the same dataset lists all problems)" if stopped else ""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Overrides may stand before and after options, which argparse alone does not allow below a verb."""
    parser = build_parser()
    completion.answer(parser)
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "overrides") or any(text.startswith("-") for text in rest)):
        options.parser.refuse(rest)
    if rest:
        options.overrides += rest
    return options


def build_parser() -> Parser:
    """The parser of all verbs; imports nothing heavy."""
    parser = Parser(
        prog="anomaly-bench",
        description="Benchmark of unsupervised anomaly localization with VAEs and beta-VAEs.",
        epilog="VERB --help says more of a verb, with an example; `anomaly-bench config` what there is to set.",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the versions of this, torch and Python")
    verbs = add_verbs(parser)
    for verb in (run, bench, retry, status, cancel, leaderboard, claims, paper, check, tune):
        add_verb(verbs, verb)
    data.add_group(verbs)
    for verb in (localize, export, score, ensemble, dashboard):
        add_verb(verbs, verb)
    wandb.add_group(verbs)
    for verb in (config, doctor, completion):
        add_verb(verbs, verb)
    return parser


class Version(argparse.Action):
    """Prints in one line which versions these are, without loading torch, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        revision = git_revision()
        of_git = f" (git {revision[:9]}{'+' * revision.endswith('+')})" if revision else ""
        print(
            f"anomaly-bench {version('anomaly-bench')}{of_git}, torch {version('torch')}, Python {platform.python_version()}"
        )
        parser.exit()
