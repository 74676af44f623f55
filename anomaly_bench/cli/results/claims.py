"""The verb `claims`."""

from __future__ import annotations

import argparse

from anomaly_bench.cli.arguments import add_folder, output_file, write_text

from .leaderboard import add_metric, checked, warn

ABOUT = "what the results in a folder say about the paper's statements"
EXAMPLE = "runs --json claims.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the findings as JSON")
    add_metric(parser)


def call(options: argparse.Namespace) -> int:
    """The findings on all runs of a folder."""
    import json

    from rich.console import Console

    from leaderboard.results.collect import collect
    from leaderboard.rows.aggregate import aggregate
    from leaderboard.show.exports import findings_json
    from leaderboard.show.terminal import print_findings
    from leaderboard.verdicts.claims import evaluate

    collection = collect(options.folder)
    warn(collection.damaged)
    findings = evaluate(aggregate(collection), checked(options.metric, collection))
    print_findings(findings, collection.results, Console())
    if options.json:
        said = findings_json(findings, collection.results)
        write_text(options.json, json.dumps(said, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    return 0
