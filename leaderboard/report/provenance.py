"""Where the numbers come from: settings, digests, versions, dates, and in which keys settings differ."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from leaderboard.amounts import amount
from leaderboard.board import Board
from leaderboard.record import RESULT_FILE
from leaderboard.results.run_arrays import DIGESTS, RunArrays
from leaderboard.results.setting_labels import beta_text, differing_keys
from leaderboard.show.sheets.sheet import Sheet

from .table import Table, of_sheet

SETTINGS = 400
KEYS = 14
TEXT = 60
UNKNOWN = "not recorded"


def provenance_tables(board: Board) -> tuple[list[Table], list[str]]:
    """Tables of settings, of versions and, per dataset, of the keys in which its settings differ; notes on what is left out."""
    by_setting: dict[tuple[str, str], list[RunArrays]] = defaultdict(list)
    for run in board.single_runs:
        by_setting[run.dataset, run.setting_id].append(run)
    shown = dict(list(by_setting.items())[:SETTINGS])
    notes = []
    if len(shown) < len(by_setting):
        notes.append(f"{len(shown)} of {len(by_setting)} settings are shown here; --json lists all runs.")
    sources = {key: _source(runs) for key, runs in shown.items()}
    sheets = [_settings(shown, sources), _versions(sources), *_differences(shown)]
    return [of_sheet(sheet) for sheet in sheets if sheet.rows], notes


def _source(runs: list[RunArrays]) -> dict[str, Any]:
    """The provenance in the first result that can still be read: the runs of a setting share their code, seldom their clock."""
    paths = [Path(run.folder, RESULT_FILE) for run in runs if run.folder is not None]
    path = next((path for path in paths if path.exists()), None)
    return {} if path is None else json.loads(path.read_bytes())["provenance"]


def _settings(shown: dict[tuple[str, str], list[RunArrays]], sources: dict[tuple[str, str], dict[str, Any]]) -> Sheet:
    header = (
        "setting", "dataset", "model", "beta", "runs", "seeds", "first", "last", "device", "data", "split", "code",
        "git revision",
    )  # fmt: skip
    rows = []
    for (dataset, setting), runs in shown.items():
        source, days = sources[dataset, setting], sorted(run.created[:16].replace("T", " ") for run in runs)
        digests = [_digests(runs, name) for name in DIGESTS]
        seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
        devices = ", ".join(sorted({run.device for run in runs}))
        own = (setting[:8], dataset, runs[0].model, beta_text(runs[0].beta), str(len(runs)), seeds, days[0], days[-1])
        rows.append((*own, devices, *digests, source.get("git_revision") or UNKNOWN))
    return Sheet(
        "provenance",
        "Settings",
        header,
        rows,
        "Times are UTC. Data, split, code: the first eight letters of their digests.",
    )


def _digests(runs: list[RunArrays], name: str) -> str:
    values = sorted({run.facts.get(f"provenance.{name}", "") for run in runs} - {""})
    return ", ".join(value[:8] for value in values[:3]) + (" …" if len(values) > 3 else "") or UNKNOWN


def _versions(sources: dict[tuple[str, str], dict[str, Any]]) -> Sheet:
    """A row per package, a column for each distinct set of versions."""
    sets: dict[tuple[tuple[str, str], ...], int] = defaultdict(int)
    for source in sources.values():
        if source:
            sets[tuple({**source["versions"], "threads": str(source["threads"])}.items())] += 1
    names = list(dict.fromkeys(name for versions in sets for name, _ in versions))
    header = ("package", *(f"in {amount(count, 'settings')}" for count in list(sets.values())[:KEYS]))
    tables = [dict(versions) for versions in list(sets)[:KEYS]]
    return Sheet(
        "provenance", "Versions", header, [(name, *(table.get(name, UNKNOWN) for table in tables)) for name in names]
    )


def _differences(shown: dict[tuple[str, str], list[RunArrays]]) -> list[Sheet]:
    by_dataset: dict[str, dict[str, list[RunArrays]]] = defaultdict(dict)
    for (dataset, setting), runs in shown.items():
        by_dataset[dataset][setting] = runs
    sheets = []
    for dataset, settings in by_dataset.items():
        keys = differing_keys(list(settings.values())) if len(settings) > 1 else []
        rows = [
            (setting[:8], *(_text(runs[0].facts.get(key)) for key in keys[:KEYS])) for setting, runs in settings.items()
        ]
        more = f"{len(keys) - KEYS} more keys differ: {', '.join(keys[KEYS:])}." if len(keys) > KEYS else ""
        if keys:
            sheets.append(
                Sheet("provenance", f"{dataset}: what its settings differ in", ("setting", *keys[:KEYS]), rows, more)
            )
    return sheets


def _text(fact: str | None) -> str:
    if fact is None:
        return "–"
    return fact if len(fact) <= TEXT else f"{fact[: TEXT - 1]}…"
