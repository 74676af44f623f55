"""Figures that papers report, to stand beside what was run: always marked as reported, never averaged or tested."""

from __future__ import annotations

from pathlib import Path

import msgspec

from leaderboard.json_file import ResultError, regular
from leaderboard.record import METRICS

SHIPPED = Path(__file__).parents[1] / "published.yaml"


class Reported(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One method of one table of a paper: its figures by metric (of METRICS), on the dataset of this name here."""

    dataset: str
    method: str
    metrics: dict[str, float]
    source: str
    url: str
    protocol: str


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    dataset: str
    source: str
    url: str
    protocol: str
    methods: dict[str, dict[str, float]]


def read_reported(path: Path = SHIPPED) -> list[Reported]:
    """The rows of a YAML file of reported figures. ResultError names the file and what is wrong with it."""
    try:
        tables = msgspec.yaml.decode(regular(path).read_bytes(), type=list[_Table])
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(
            f"{path}: not a file of reported figures ({error}); {SHIPPED.name} shows the format."
        ) from error
    unknown = {name for table in tables for metrics in table.methods.values() for name in metrics} - set(METRICS)
    if unknown:
        raise ResultError(f"{path}: unknown metrics {sorted(unknown)}; expected some of {list(METRICS)}.")
    return [
        Reported(table.dataset, method, metrics, table.source, table.url, table.protocol)
        for table in tables
        for method, metrics in table.methods.items()
    ]
