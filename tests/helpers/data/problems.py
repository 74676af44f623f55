"""What `data verify` has found."""

from __future__ import annotations

from data_modules.inspect.findings import ERROR, Findings, Problem


def only(findings: Findings, level: str = ERROR) -> Problem:
    """The one problem of a level."""
    found = [problem for problem in findings.problems if problem.level == level]
    assert len(found) == 1, findings.problems
    return found[0]
