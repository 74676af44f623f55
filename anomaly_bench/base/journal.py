"""The journal of a study, whose trials have attributes from their first line on. Imports Optuna."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from .errors import ConfigError

MOMENT = 0.5  # seconds that another process may take to write a line
REMEDY = "move it away and start the same command again, which begins a new study, or bring back an older copy of it"
DAMAGE = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)  # of Optuna, which checks no line


class Journal(JournalStorage):
    """The journal in a file. attributes: of each trial that is begun here; a process that dies then leaves none without.

    Raises ConfigError for a file that is damaged, to which nothing is added.
    """

    def __init__(self, file: Path, attributes: Mapping[str, Any]) -> None:
        if not _whole(file):
            time.sleep(MOMENT)
            if not _whole(file):  # Optuna would add to it all the same
                raise ConfigError(f"{file}: the study is damaged in its last line: remove that line, or {REMEDY}")
        try:
            super().__init__(JournalFileBackend(str(file)))
        except DAMAGE as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ConfigError(f"{file}: the study is damaged ({said}): {REMEDY}") from error
        self.attributes = dict(attributes)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See JournalStorage."""
        begun = template_trial or create_trial(state=TrialState.RUNNING, user_attrs=self.attributes)
        return super().create_new_trial(study_id, begun)


def _whole(file: Path) -> bool:
    """Whether the last line of the file, if there is one, has its end and is one of JSON."""
    last = (file.read_bytes() if file.exists() else b"").splitlines(keepends=True)[-1:]
    try:
        return all(line.endswith(b"\n") and json.loads(line) is not None for line in last)
    except ValueError:
        return False
