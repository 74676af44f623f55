"""The log of a run: what was printed beside where it was printed, and how it ended."""

import re
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from anomaly_bench.base.progress import Reporter
from anomaly_bench.sweep.run_log import Said, run_log

HEAD = r"--- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+, process \d+\n"


class Heard(Reporter):
    def __init__(self):
        self.news = []

    def say(self, line):
        self.news.append(line)

    def advance(self, steps=1):
        self.news.append(steps)


def test_what_is_printed_said_and_warned_of_is_in_the_log_and_where_it_was(tmp_path, capsys):
    path, heard = tmp_path / "run.log", Heard()
    before = sys.stdout, sys.stderr
    for _ in range(2):
        with run_log(path, printed=False) as log:
            print("printed")
            print("look out", file=sys.stderr)  # where Python writes warnings to
            reporter = Said(heard, log)
            reporter.say("said")
            reporter.advance(3)
            print("ended", file=log)
    assert (sys.stdout, sys.stderr) == before
    text = path.read_text()
    once = rf"{HEAD}printed\nlook out\nsaid\nended\n"
    assert re.fullmatch(once + once, text), text
    out, err = capsys.readouterr()
    assert out == "printed\n" * 2
    assert err == "look out\n" * 2
    assert heard.news == ["said", 3, "said", 3]


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_drawn_is_not_in_the_log(tmp_path, terminal):
    path = tmp_path / "run.log"
    console = Console(stderr=True, force_terminal=terminal)
    with Progress(console=console) as bars, run_log(path, printed=False):
        bars.add_task("a bar", total=3)
        bars.refresh()
        console.print("a line above the bars")
        print("printed")
    assert re.fullmatch(HEAD + "printed\n", path.read_text())


def test_a_process_that_prints_into_its_log_does_so_once(tmp_path, capsys):
    with run_log(tmp_path / "run.log", printed=True):
        print("printed")
    assert re.fullmatch(HEAD, (tmp_path / "run.log").read_text())
    assert capsys.readouterr().out == "printed\n"


def test_an_interrupt_is_told(tmp_path):
    with pytest.raises(KeyboardInterrupt), run_log(tmp_path / "run.log", printed=False):
        raise KeyboardInterrupt
    assert re.fullmatch(HEAD + "interrupted\n", (tmp_path / "run.log").read_text())
