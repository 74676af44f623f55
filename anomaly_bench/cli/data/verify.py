"""The verb `data verify`: the problems of a dataset, alike ones together."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from anomaly_bench.base.text import plural, wrapped
from anomaly_bench.cli.arguments import Records
from data_modules.inspect.findings import ERROR, LEVELS, Findings, Problem

from .prepare import add_datasets, module_of

ABOUT = "read every file and name all that is wrong with it; exit code 1 if anything is"
EXAMPLE = "dataset=brats dataset.root=/data/BraTS --all-modalities"
ALIKE = 3  # problems of one kind that are shown before the rest is counted
INDENT = 9  # columns of a level, before its problems
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "read the files of every modality that the layout knows, not of dataset.modality alone"
    parser.add_argument("--all-modalities", action="store_true", help=text)
    add_datasets(parser)


def call(options: argparse.Namespace) -> tuple[int, Records]:
    from anomaly_bench.base.bars import bar
    from anomaly_bench.config.grid import load_grid
    from data_modules.inspect.verify import verify

    found = []
    for config in load_grid(options.overrides):
        with bar(f"verify {config.dataset.name}") as progress:
            found.append(verify(module_of(config, progress), progress, all_modalities=options.all_modalities))
        print_findings(found[-1])
    return int(any(findings.count(ERROR) for findings in found)), [findings.to_dict() for findings in found]


def print_findings(findings: Findings) -> None:
    """The problems with their files and remedies, the worst first, then how many there are.

    Of problems that differ in their file alone, ALIKE are shown and the others counted. What is wrong with the dataset as
    a whole comes last: it often follows from what is wrong with its files.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.text import Text

    console = Console(highlight=False)
    console.print(f"[bold]{escape(findings.dataset)}[/bold] in {escape(findings.root)}", soft_wrap=True)
    families: dict[tuple[str, ...], list[Problem]] = {}
    for problem in sorted(
        findings.problems, key=lambda problem: (LEVELS.index(problem.level), not _place(problem, findings))
    ):
        families.setdefault(_family(problem), []).append(problem)
    for members in families.values():
        for problem in members[:ALIKE]:
            place = _place(problem, findings) or "the dataset"
            console.print(Text.assemble((f"{problem.level:<9}", STYLES[problem.level]), place), soft_wrap=True)
            console.print(Text(wrapped(problem.what, INDENT)), soft_wrap=True)
            if problem.remedy:
                console.print(Text(wrapped(f"→ {problem.remedy}", INDENT), style="dim"), soft_wrap=True)
        if len(members) > ALIKE:
            console.print(Text(wrapped(f"and {len(members) - ALIKE} more like it (--json FILE names all)", INDENT)))
    counts = ", ".join(plural(findings.count(level), level) for level in LEVELS)
    read = f"{plural(findings.subjects, findings.unit)}, {plural(findings.files, 'file')} read"
    read += f", {findings.left_out} of them left out as twins" if findings.left_out else ""
    if findings.unread:
        unread = f"not {', '.join(findings.unread)}: --all-modalities does"
        console.print(f"only {', '.join(findings.read)} was read, as dataset.modality says, {unread}", markup=False)
    verdict = "not fit for a run" if findings.count(ERROR) else "fit for a run"
    console.print(
        Text.assemble((verdict, STYLES[ERROR] if findings.count(ERROR) else "bold green"), f": {counts}; {read}")
    )


def _place(problem: Problem, findings: Findings) -> str:
    """The file below the root, or the subject, that a problem is of; empty for the dataset as a whole."""
    file = "" if problem.file == findings.root else problem.file.removeprefix(f"{findings.root}/")
    named = re.match(r"subject (\S+) ", problem.what)
    return file or problem.subject or (named.group(1) if named else "")


def _family(problem: Problem) -> tuple[str, ...]:
    """What problems that differ in file, subject and numbers alone have in common."""
    own = [name for name in (problem.file, Path(problem.file).name, problem.subject) if name]
    texts = [re.sub(r"^subject \S+ ", "subject … ", problem.what), problem.remedy]
    for name in sorted(own, key=len, reverse=True):
        texts = [text.replace(name, "…") for text in texts]
    return problem.level, *(re.sub(r"\d+(\.\d+)?", "0", text) for text in texts)
