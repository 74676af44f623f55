"""The parser of all verbs: light, and without a file that is no verb."""

import argparse
import subprocess
import sys
from pathlib import Path

from anomaly_bench import cli
from anomaly_bench.cli.main import build_parser


def _names(parser):
    """The verbs below a parser, and those below them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield name
                yield from _names(below)


def test_every_file_of_a_verb_is_on_offer():
    files = {path.stem for path in Path(cli.__path__[0]).glob("*/*.py")} - {"__init__"}
    assert set(_names(build_parser())) == files | {"data", "wandb", "doctor"}


def test_help_answers_without_loading_torch():
    code = """
import sys
from anomaly_bench.cli.main import main
try: main(["--help"])
except SystemExit: pass
heavy = {"torch", "pytorch_lightning", "monai", "hydra", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_registering_the_verbs_loads_nothing_heavy():
    code = """
import sys
from anomaly_bench.cli.main import build_parser
build_parser()
heavy = {"torch", "hydra", "numpy", "rich", "omegaconf"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
