"""The verbs of `anomaly-bench data`: what data there is, what it holds, and the slice stores made of it.

`call` of their files prints, and returns the exit code with what was found: an object for each dataset, store or download.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from types import ModuleType

from anomaly_bench.base.files import check_writable
from anomaly_bench.cli.arguments import Verbs, add_verb, add_verbs_below, output_file, write_text

from . import describe, fetch, list, ls, prepare, rm, verify

STDOUT = "-"
OTHER_JSON = "choose another file (--json FILE)"


def add_group(verbs: Verbs) -> None:
    """Register `data` and its verbs."""
    below = add_verbs_below(
        verbs, "data", "what data there is, what it holds, is it sound; the slice stores in the cache"
    )
    for verb in (list, fetch, describe, verify, prepare, ls, rm):
        parser = add_verb(below, verb)
        text = f"write what is found as JSON, a list of objects; {STDOUT} for standard output, alone"
        parser.add_argument("--json", type=output_file, metavar="FILE", help=text)
        parser.set_defaults(verb=partial(_call, verb))


def _call(verb: ModuleType, options: argparse.Namespace) -> int:
    """Carry out a verb and write what it found, if that is asked for; on standard output nothing else is printed then."""
    alone = options.json == Path(STDOUT)
    if options.json and not alone:
        check_writable(options.json.absolute().parent, OTHER_JSON)  # before the work is done
    with redirect_stdout(io.StringIO()) if alone else nullcontext():
        code, found = verb.call(options)
    text = json.dumps(found, indent=1, default=str) + "\n"
    if alone:
        sys.stdout.write(text)
    elif options.json:
        write_text(options.json, text, OTHER_JSON)
    return int(code)
