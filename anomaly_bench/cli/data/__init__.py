"""The verbs of `anomaly-bench data`: what data there is, what it holds, and the slice stores made of it."""

from __future__ import annotations

import argparse

from anomaly_bench.cli.arguments import Verbs, add_verb

from . import describe, fetch, list, ls, prepare, rm, verify


def add_group(verbs: Verbs) -> None:
    """Register `data` and its verbs."""
    text = "what data there is, what it holds and whether it is sound; the slice stores in the cache"
    below = verbs.add_parser("data", help=text, description=text).add_subparsers(required=True, metavar="VERB")
    for verb in (list, fetch, describe, verify, prepare, ls, rm):
        parser = add_verb(below, verb)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = f"example:\n  anomaly-bench data {verb.EXAMPLE}"
