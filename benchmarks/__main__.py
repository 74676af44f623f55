"""Every speed claim measured again: `make benchmarks`, or `python benchmarks` with `--only predictors,metrics` for some.

Runs the scripts of this folder one after the other and collects their ratios, never a time, in benchmarks/ratios.json, from
which it writes docs/benchmarks.md. Says which goals are missed that were met in the file before, and then exits with 1. Of a
script that gives no ratio nothing is changed. Half an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import RATIOS

HERE = Path(__file__).parent
FILE, PAGE = HERE / "ratios.json", HERE.parent / "docs" / "benchmarks.md"
ADAM = "model.optimizer=adam trainer.average=0 trainer.lr_drops=2"
MUON = "model.optimizer=muon trainer.average=0.99 trainer.lr_drops=0"
SCRIPTS = {
    "predictors": [],
    "metrics": ["1e7", "1e8", "--only", "ours", "--only", "adeval"],
    "networks": [],
    "fused": [],
    "training": ["--seeds", "0", "--base", f"trainer=short {ADAM}", "--beside", MUON],
    "data": ["--only", "prepare,memory,slices,epoch", "--rounds", "5"],
    "sweep": ["engine"],
    "scale": [],
}
Ratio = dict[str, Any]


def measured(script: str, peers: str) -> tuple[list[Ratio], int]:
    """The ratios that a script notes, and its exit status; what it prints is shown."""
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "ratios"
        more = ["--peers", peers] if script == "metrics" and peers else []
        command = [sys.executable, str(HERE / f"{script}.py"), *SCRIPTS[script], *more]
        print(f"\n$ {' '.join(['python', f'benchmarks/{script}.py', *command[2:]])}", flush=True)
        root = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(command, env=os.environ | {RATIOS: str(noted), "PYTHONPATH": root}, check=False)
        lines = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
        return [json.loads(line) for line in lines], done.returncode


def met(ratio: Ratio) -> bool:
    """Whether a ratio is as it should be; one that nothing is wanted of always is."""
    value, bound = ratio["value"], ratio["bound"]
    return bound is None or (value >= bound if ratio["least"] else value <= bound)


def page(document: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Speed as ratios of two things timed in turn in one run, for a machine's times say little about another's.",
        "`make benchmarks` measures all of it and writes this page; each script says in its head what it does.",
    ]
    for script, ratios in document["ratios"].items():
        arguments = " ".join(["", *SCRIPTS[script]])
        lines += ["", f"## `python benchmarks/{script}.py{arguments}`", "", "| | ratio | goal | |", "|---|--:|--:|---|"]
        for ratio in ratios:
            bound = "" if ratio["bound"] is None else f"{'≥' if ratio['least'] else '≤'} {ratio['bound']:g}"
            lines.append(f"| {ratio['what']} | {ratio['value']:g} | {bound} | {'' if met(ratio) else '**missed**'} |")
    machine = document["machine"]
    lines += ["", f"Measured on {machine['cores']} cores ({machine['system']}) with torch {machine['torch']}."]
    return "\n".join(lines) + "\n"


def _known() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"ratios": {}}
    return found


def _write(script: str, ratios: list[Ratio]) -> None:
    """Note what a script gave beside what others did, at once: half an hour may be cut short."""
    import torch

    known = _known()["ratios"] | {script: ratios}
    document = {
        "ratios": {name: known[name] for name in SCRIPTS if name in known},
        "machine": {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "torch": torch.__version__.split("+")[0],
        },
    }
    FILE.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(document), encoding="utf-8")
    print(f"\nwrote {FILE.name} and {PAGE.name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SCRIPTS), metavar="SCRIPTS", help="some of %(default)s")
    parser.add_argument("--peers", default="", help="the folder that other packages were installed into, for metrics")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(SCRIPTS):
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(SCRIPTS)}")
    before = {(script, ratio["what"]): met(ratio) for script, own in _known()["ratios"].items() for ratio in own}
    worse = []
    for script in chosen:
        ratios, status = measured(script, options.peers)
        if not ratios:
            worse.append(f"{script} gave no ratio (exit status {status})")
            continue
        _write(script, ratios)
        worse += [
            f"{script}: {one['what']}" for one in ratios if not met(one) and before.get((script, one["what"]), True)
        ]
    if worse:
        print("missed, and not missed before:\n  " + "\n  ".join(worse))
    return bool(worse)


if __name__ == "__main__":
    sys.exit(main())
