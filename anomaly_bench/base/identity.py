"""The names of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """The hashes that name a run, and its folder below the output folder.

    setting_id: of everything that defines the run but its seed; run_id: with the seed.
    """

    setting_id: str
    run_id: str
    folder: str
