"""The verb `dashboard`."""

from __future__ import annotations

import argparse

from anomaly_bench.cli.arguments import add_folder, output_file, write_text

ABOUT = "create or update a W&B workspace and report that compare predictors"
EXAMPLE = "runs --entity my-team --spec board.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--entity", required=True, help="the W&B user or team")
    parser.add_argument("--project", default="anomaly_bench", help="the W&B project, default anomaly_bench")
    parser.add_argument("--spec", type=output_file, metavar="FILE", help="write both as JSON instead; needs no login")


def call(options: argparse.Namespace) -> int:
    from anomaly_bench.tracking.wandb.dashboard import build, save, spec, subjects_of

    about = subjects_of(options.folder)
    boards = build(options.entity, options.project, about)
    if options.spec:
        write_text(options.spec, spec(*boards), "choose another file for --spec")
        print(f"wrote     {options.spec}")
        return 0
    for name, url in save(options.folder, *boards).items():
        print(f"{name:<9} {url}", flush=True)
    return 0
