"""A run that is applied to files: what its test saw, and what the command line says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.localization import callback
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.run import run


def finished(config: RunConfig, root: Path) -> tuple[Path, dict[tuple[str, int], Any]]:
    """The folder of the run, done now, and what its test saw: by subject and slice, each predictor's map (H, W)."""
    seen, patch = {}, pytest.MonkeyPatch()

    def count(tallies: dict[str, Any], maps: dict[str, Any], batch: dict[str, Any], *converged: Any) -> None:
        if any(tally.per_subject for tally in tallies.values()):
            for row, key in enumerate(zip(batch["subject"].tolist(), batch["slice"].tolist(), strict=True)):
                seen[key] = {name: maps[name][0][row, 0] for name in tallies}, batch["foreground"][row, 0]
        counted(tallies, maps, batch, *converged)

    counted = callback.count
    patch.setattr(callback, "count", count)
    result = run(config)
    patch.undo()
    subjects = build_data(config, Reporter()).store.subjects
    (folder,) = (path.parent for path in root.rglob("result.json") if result.run_id in path.read_text())
    return folder, {(subjects[subject], number): found for (subject, number), found in seen.items()}


def said(cli: Callable[..., tuple[int, str, str]], *arguments: object) -> list[str]:
    """The lines on standard error but for notes, of a call that has to end with 2."""
    code, _, err = cli("localize", *map(str, arguments))
    assert code == 2
    assert "Traceback" not in err
    return [line for line in err.splitlines() if not line.startswith("note:")]
