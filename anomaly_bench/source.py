"""What the code that decides the numbers is, and the names of a run that follow. Imports nothing heavy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import data_modules

# They decide when and where a run is done, and where it is logged: not what comes of it.
BESIDE = {Path(__file__).parent / "sweep", Path(__file__).parent / "tracking"}
SHOWING = (
    "cli.py",
    "doctor.py",
    "output.py",
    "progress.py",
    "quiet.py",
    "sweep_verbs.py",
    "status_table.py",
    "config_words.py",
    "half_done.py",
    "panels.py",
    "report.py",
    "options.py",
    "bars.py",
    "data_json.py",
    "data_verbs.py",
    "catalog_verbs.py",
    "dataset_verbs.py",
    "store_verbs.py",
    "data_tables.py",
    "description_tables.py",
    "finding_tables.py",
    "catalog.py",
    "checks.py",
    "describe.py",
    "findings.py",
    "hints.py",
    "histograms.py",
    "sources.py",
    "tiles.py",
    "sheet.py",
    "verify.py",
    "verify_pictures.py",
    "verify_volumes.py",
    "download.py",
    "fetch.py",
    "unpack.py",
    "score.py",
    "score_counts.py",
    "score_files.py",
    "score_output.py",
    "score_read.py",
    "score_verb.py",
    "seeds.py",
    "seeds_files.py",
    "seeds_verb.py",
    "wandb_verbs.py",
)


@dataclass(frozen=True)
class Identity:
    """The hashes that name a run, and its folder below the output folder.

    setting_id: of everything that defines the run but its seed; run_id: with the seed.
    """

    setting_id: str
    run_id: str
    folder: str


@cache
def source_digest() -> str:
    """Digest of the source code that decides the numbers (not of what only shows them): another version, another run."""
    digest = hashlib.blake2b(digest_size=16)
    for package in (Path(__file__).parent, Path(data_modules.__file__ or "").parent):
        for path in sorted(package.rglob("*.py")):
            if path.name in SHOWING or BESIDE & set(path.parents):
                continue
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
