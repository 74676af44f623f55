"""Bars on a terminal, and elsewhere lines or nothing."""

from contextlib import redirect_stderr
from io import StringIO

import pytest

from anomaly_bench.base.bars import bar, reporting


class Terminal(StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_a_bar_counts_and_takes_its_second_title_when_all_is_done(terminal):
    with redirect_stderr(terminal), bar("maps", then="intervals") as progress:
        progress(2, 6)
        progress(6, 6)
    assert "maps" in terminal.getvalue()
    assert "intervals" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()


def test_a_sweep_has_bars_on_a_terminal(terminal):
    with redirect_stderr(terminal), reporting(3) as reporter:
        reporter.run("first")
        reporter.stage("fit", 4)
        reporter.advance(4)
        reporter.finished("first: done")
    assert "[1/3] first: done" in terminal.getvalue()
    assert "first fit" in terminal.getvalue()


def test_elsewhere_there_are_lines_or_nothing(capsys):
    with bar("maps") as progress:
        progress(6, 6)
    assert capsys.readouterr() == ("", "")
    with reporting(3) as reporter:
        reporter.run("first")
        reporter.stage("fit", 4)
        reporter.advance(4)
        reporter.finished("first: done", timed=False)
    assert capsys.readouterr().err == "[1/3] first: done\n"
