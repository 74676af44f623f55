"""What a check found: for a terminal, as JUnit XML, and as the summary of a GitHub step."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text

from leaderboard.verdicts.check import ADVICE, Checked, Verdict

from .terminal import bare_table, natural_width
from .texts import UNDEFINED, escape, markdown_table, number, plain

KEY_WIDTH = 16  # keys fold no narrower; on a smaller console the lines run over the edge
COLOURS = {"better": "green", "new": "cyan", "same": ""}
HEADER = ("verdict", "predictor", "baseline", "now", "change", "allowed", "seeds")
FLAG = "settings differ from the baseline's"


def diff_table(check: Checked, console: Console) -> None:
    """Print a line per verdict, what each kind of verdict asks for, what differs in the settings, and the failures.

    `allowed` is the tolerance, `seeds` are those found of those in the baseline. Long keys fold, numbers are never cut.
    """
    table = bare_table(HEADER, fold=("predictor",), gap=0)
    for verdict in check.verdicts:
        table.add_row(*map(Text, cells(verdict)), style=COLOURS.get(verdict.status, "bold red"))
    natural = natural_width(table, console)
    foldable = max((len(verdict.key) - KEY_WIDTH for verdict in check.verdicts), default=0)
    table.width = max(natural - max(foldable, 0), min(natural, console.width))
    console.print(table, crop=False)
    for line in _advice(check):
        console.print(Text(line))
    for change in check.changes:
        console.print(Text(f"{FLAG}: {change}", style="yellow"))
    console.print(Text(check.outcome, style="bold red" if check.failed else "bold green"))


def _advice(check: Checked) -> list[str]:
    present = {verdict.status for verdict in check.verdicts}
    return [f"{status}: {advice}" for status, advice in ADVICE.items() if status in present]


def cells(verdict: Verdict) -> list[str]:
    """The texts of a verdict's line under HEADER."""
    expected, found = verdict.expected, verdict.found
    before, now = expected.mean if expected else None, found.mean if found else None
    change = UNDEFINED if before is None or now is None else f"{now - before:+.3f}"
    allowed = number(expected.tolerance if expected else None)
    seeds = f"{found.n if found else 0}/{expected.n if expected else UNDEFINED}"
    return [verdict.status, verdict.key, number(before), number(now), change, allowed, seeds]


def junit(checks: Sequence[Checked], damaged: Sequence[str]) -> str:
    """JUnit XML: a suite per baseline, a case per predictor, a failure where it is worse, an error per damaged result.

    Characters that XML has no place for are replaced.
    """
    root = ElementTree.Element("testsuites", name="anomaly-bench check")
    for check in checks:
        failures = sum(verdict.failed for verdict in check.verdicts)
        name = f"{check.baseline.dataset}.{check.baseline.metric}"
        suite = _suite(root, name, len(check.verdicts), failures, 0)
        for verdict in check.verdicts:
            case = ElementTree.SubElement(suite, "testcase", classname=plain(name), name=plain(verdict.key), time="0")
            line = ", ".join(f"{head} {text}" for head, text in zip(HEADER[2:], cells(verdict)[2:], strict=True))
            if verdict.failed:
                failure = ElementTree.SubElement(
                    case, "failure", message=plain(f"{verdict.status}: {line}"), type=verdict.status
                )
                failure.text = ADVICE[verdict.status]
            else:
                ElementTree.SubElement(case, "system-out").text = f"{verdict.status}: {line}"
        if check.changes:
            ElementTree.SubElement(suite, "system-out").text = "\n".join(
                plain(f"{FLAG}: {one}") for one in check.changes
            )
    if damaged:
        suite = _suite(root, "results", len(damaged), 0, len(damaged))
        for message in damaged:
            case = ElementTree.SubElement(
                suite, "testcase", classname="results", name=plain(message.split(": ")[0]), time="0"
            )
            ElementTree.SubElement(case, "error", message=plain(message), type="damaged")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, name: str, tests: int, failures: int, errors: int) -> ElementTree.Element:
    counts = {"tests": tests, "failures": failures, "errors": errors, "skipped": 0}
    return ElementTree.SubElement(
        root, "testsuite", {"name": plain(name)} | {key: str(count) for key, count in counts.items()}
    )


def step_summary(checks: Sequence[Checked], damaged: Sequence[str]) -> str:
    """Markdown for $GITHUB_STEP_SUMMARY: what moved of each baseline, what did not folded away."""
    lines = []
    for check in checks:
        sign = "❌" if check.failed else "✅"
        lines += [f"### {sign} {escape(check.baseline.dataset)}, {check.baseline.metric}: {check.outcome}", ""]
        moved = [verdict for verdict in check.verdicts if verdict.status != "same"]
        still = [verdict for verdict in check.verdicts if verdict.status == "same"]
        lines += _markdown(moved) if moved else []
        lines += [f"- {line}" for line in _advice(check)]
        lines += [f"- ⚠️ {FLAG}: {escape(change)}" for change in check.changes]
        if still:
            lines += ["", f"<details><summary>{len(still)} unchanged</summary>", "", *_markdown(still), "</details>"]
        lines.append("")
    lines += [f"- ❌ left out: {escape(message)}" for message in damaged]
    return "\n".join(lines) + "\n"


def _markdown(verdicts: Sequence[Verdict]) -> list[str]:
    return [*markdown_table(HEADER, map(cells, verdicts)), ""]
