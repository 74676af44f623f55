"""A report in a browser."""

import pytest
from browser import HOSTILE, chromium

from leaderboard.board import build
from leaderboard.report import html_report
from leaderboard.results.collect import Collection


@pytest.fixture(scope="package")
def browser():
    yield from chromium()


@pytest.fixture(scope="package")
def report(make_sweep, tmp_path_factory):
    """A report of six datasets, one of them and one of 40 predictors with a hostile name."""
    levels = {name: 0.99 - at / 100 for at, name in enumerate([HOSTILE, *(f"rec_{k}" for k in range(39))])}
    runs = make_sweep(levels, [HOSTILE, "d1", "d2", "d3", "d4", "d5"], seeds=2, noise=0.0)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html_report(build(Collection(runs, [HOSTILE], failed={HOSTILE: HOSTILE}))), encoding="utf-8")
    return path
