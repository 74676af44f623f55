"""Where the results of a page come from, and how to make them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from leaderboard.record import RESULT_FILE, Provenance, read_result
from leaderboard.results.run_arrays import RunArrays

PHASES = ("fit", "localize")  # of a run, whose durations make its time


def provenance(run: RunArrays) -> Provenance | None:
    """Where a run comes from, from its folder; None for one that has none."""
    return None if run.folder is None else read_result(run.folder / RESULT_FILE).provenance


def repeated(sources: Iterable[Provenance], command: str) -> Iterator[str]:
    """The command that does it again, and the versions that it was done with."""
    sources = list(sources)
    versions = sorted({f"{name} {version}" for one in sources for name, version in one.versions.items()})
    revisions = sorted({one.git_revision[:9] for one in sources if one.git_revision})
    yield "```sh"
    yield command
    yield "```"
    yield ""
    yield (
        "What is finished is not done again; `--write-only` writes this page from what is there. Versions: "
        f"{', '.join(versions) or 'not recorded'}; revision {', '.join(revisions) or 'not recorded'}."
    )
