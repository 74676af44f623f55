"""The journal of a study, whose trials have attributes from their first line on. Imports Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial


class Journal(JournalStorage):
    """The journal in a file. attributes: of each trial that is begun here; a process that dies then leaves none without."""

    def __init__(self, file: Path, attributes: Mapping[str, Any]) -> None:
        super().__init__(JournalFileBackend(str(file)))
        self.attributes = dict(attributes)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See JournalStorage."""
        begun = template_trial or create_trial(state=TrialState.RUNNING, user_attrs=self.attributes)
        return super().create_new_trial(study_id, begun)
