"""The finished runs that an ensemble over seeds combines, found in a runs folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.localization.trained import config_of
from leaderboard.json_file import ResultError
from leaderboard.record import RESULT_FILE, RunResult, read_result
from leaderboard.results.collect import check_folder


@dataclass(frozen=True)
class FinishedRun:
    """A run's result and the folder it lies in."""

    result: RunResult
    folder: Path

    def config(self) -> RunConfig:
        """The config that the run was started with. Raises ConfigError if it cannot be read."""
        return config_of(self.folder)


def find_settings(root: Path, members: Sequence[str] = ()) -> tuple[list[list[FinishedRun]], list[str]]:
    """The finished runs of each setting below `root` that has at least two, by seed; and a message per damaged result.

    members: what the ids of the runs begin with; all runs if there are none. Raises ConfigError for one that is no run here,
    and if no setting has two runs; ResultError if there is no such folder.
    """
    check_folder(root)
    settings, damaged = defaultdict[str, list[FinishedRun]](list), []
    missing = set(members)
    for path in sorted(root.rglob(RESULT_FILE)):
        try:
            run = FinishedRun(read_result(path), path.parent)
        except ResultError as error:
            damaged.append(str(error))
            continue
        named = {member for member in members if run.result.run_id.startswith(member)}
        missing -= named
        if not run.result.ensemble_of and (named or not members):
            settings[run.result.setting_id].append(run)
    if missing:
        raise ConfigError(
            f"--members {' '.join(sorted(missing))}: no run in {root} has an id that begins so; a run's folder ends with the "
            "beginning of its id"
        )
    several = [sorted(runs, key=lambda run: run.result.seed) for runs in settings.values() if len(runs) > 1]
    if members and not several:
        found = {0: "ensembles alone", 1: "one run"}.get(len(settings), f"{len(settings)} runs, no two of one setting")
        raise ConfigError(f"--members names {found}; name two or more of a setting")
    if not several:
        raise ConfigError(
            f"{root}: no setting has two finished seeds here to combine; `anomaly-bench bench seed=0,1,2 out={root}` with "
            f"the overrides of your run makes three{''.join(f'; left out: {message}' for message in damaged)}"
        )
    return sorted(several, key=lambda runs: runs[0].folder), damaged


def check_alike(runs: Sequence[FinishedRun]) -> None:
    """Raises ResultError unless all runs have seeds of their own, and the same data and split."""
    for what, values in (
        ("seed", [run.result.seed for run in runs]),
        ("run id", [run.result.run_id for run in runs]),
    ):
        if len(set(values)) < len(runs):
            folders = ", ".join(str(run.folder) for run in runs)
            raise ResultError(f"{folders}: two of these have the same {what}; move one of the two away")
    first = runs[0]
    for run in runs[1:]:
        for name in ("data_fingerprint", "split_digest"):
            if getattr(run.result.provenance, name) != getattr(first.result.provenance, name):
                raise ResultError(
                    f"{run.folder}: its {name} is not that of {first.folder}, so that one may have trained on what the other "
                    "is tested on; repeat both runs on the same data"
                )
