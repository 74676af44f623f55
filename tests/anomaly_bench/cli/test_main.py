"""The parser of all verbs: light, and without a file that is no verb."""

import argparse
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from anomaly_bench import cli
from anomaly_bench.cli.main import build_parser, main

OF_THEIR_OWN = {"config", "doctor", "completion"}  # verbs in files beside the folders of verbs


def _verbs(parser):
    """The verbs below a parser, and those below them, with their parsers."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield name, below
                yield from _verbs(below)


def test_every_file_of_a_verb_is_on_offer():
    files = {path.stem for path in Path(cli.__path__[0]).glob("*/*.py")} - {"__init__"}
    assert {name for name, _ in _verbs(build_parser())} == files | {"data", "wandb"} | OF_THEIR_OWN


def test_every_verb_says_what_it_does_takes_and_exits_with_and_shows_an_example_that_parses():
    for name, verb in _verbs(build_parser()):
        assert verb.description, name
        for action in verb._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert all(below.help for below in action._choices_actions), name
            else:
                assert action.help, (name, action)
                told = action.default in (None, False, [], argparse.SUPPRESS) or str(action.default) in action.help
                assert told, (name, action)
        if name not in ("data", "wandb"):
            first = re.search(r"^ +anomaly-bench (.*)$", verb.epilog, re.MULTILINE).group(1)
            assert build_parser().parse_args(shlex.split(first)).verb, name
            assert re.search(r"^exit codes: 0 .*; 2 ", verb.epilog, re.MULTILINE) or name == "doctor"


def test_a_verb_that_is_missing_shows_the_help(capsys):
    for arguments in ([], ["data"], ["wandb"]):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "VERB" in err
        assert "-h, --help" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--confg-dir=a"], " run: --confg-dir: no such option; did you mean --config-dir? ("),
        (["bench", "seed=1", "--bta", "4"], " bench: --bta: no such option; anomaly-bench bench --help lists them"),
        (["rnu"], ": rnu: no such verb; did you mean run? (anomaly-bench --help lists them)"),
        (["data", "lst"], " data: lst: no such verb; did you mean list? (anomaly-bench data --help lists them)"),
        (["ensemble", "runs", "--how", "maxx"], " ensemble: --how maxx: no such value; did you mean max? (there are "),
        (["export", "a", "b"], " export: b: one argument too many; "),
        (["status"], " status: the following arguments are required: OUT"),
    ],
)
def test_arguments_that_it_does_not_take_are_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    err = capsys.readouterr().err
    assert (ended.value.code, err.count("\n")) == (2, 1)
    assert f"anomaly-bench{said}" in err


def test_the_version_is_told_without_loading_torch():
    command = [sys.executable, "-X", "importtime", "-m", "anomaly_bench", "--version"]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    python = ".".join(map(str, sys.version_info[:3]))
    revision = r"( \(git [0-9a-f]{9}\+?\))?"
    line = (
        rf"anomaly-bench {version('anomaly-bench')}{revision}, torch {re.escape(version('torch'))}, Python {python}\n"
    )
    assert re.fullmatch(line, told.stdout)
    assert not re.search(r"\| +(torch|numpy|rich|omegaconf)$", told.stderr, re.MULTILINE)


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


@pytest.mark.parametrize(
    "arguments",
    [
        *(["leaderboard", "runs", f"--{name}"] for name in ("markdown", "csv", "json", "latex", "html")),
        ["claims", "runs", "--json"],
        ["check", "runs", "--baseline", "a.json", "--junit"],
        *(["score", "--maps", "a", "--masks", "b", f"--{name}"] for name in ("csv", "json")),
        ["data", "list", "--json"],
        ["export", "runs/a", "--out"],
        ["paper", "--to"],
        ["tune", "--space", "a.yaml", "--study"],
        ["wandb", "sweep", "--yaml"],
        ["dashboard", "runs", "--entity", "me", "--spec"],
    ],
    ids=lambda arguments: f"{arguments[0]} {arguments[-1]}",
)
def test_a_file_to_be_written_that_is_a_folder_is_refused_before_any_work(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, str(tmp_path)])
    err = capsys.readouterr().err
    assert (ended.value.code, err.count("\n")) == (2, 1)
    assert f"{arguments[-1]}: {tmp_path}: is a folder; give the name of a file in it" in err


# a command that prints, is at work and prints again, in a process that nothing heavy is imported into
TALKING = """
import argparse, sys
from pathlib import Path
from anomaly_bench.cli import main

def call(options):
    for stream in (sys.stdout, sys.stderr) * 2:
        print("word " * 100_000, file=stream, flush=True)
    Path(sys.argv[1]).write_text("done")
    print("at the end")
    return int(sys.argv[2])

main._parse = lambda arguments: argparse.Namespace(verb=call, debug=False)
raise SystemExit(main.main([]))
"""


@pytest.mark.parametrize("code", [0, 1])
def test_a_command_goes_on_when_nobody_listens_any_more(tmp_path, code):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", TALKING, str(tmp_path / "file"), str(code)]
    done = subprocess.run(command, stdout=writer, stderr=writer, check=False)
    os.close(writer)
    assert done.returncode == code
    assert (tmp_path / "file").read_text() == "done"


def test_a_full_disk_under_the_output_is_one_line_and_ends_no_work(tmp_path):
    command = [sys.executable, "-c", TALKING, str(tmp_path / "file"), "0"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert (tmp_path / "file").read_text() == "done"
    said = done.stderr.replace("word ", "").strip()
    assert said.startswith(
        "anomaly-bench: standard output cannot be written (No space left on device): free some space"
    )
    assert "\n" not in said


def test_output_that_is_as_short_as_a_version_is_not_lost_without_a_word():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "anomaly_bench", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
