"""The file of a study, which several processes may have open. Imports Optuna only where one is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study

EVERY = 10  # epochs between looks at whether a trial is worth going on with
PRUNED = "pruned"  # attribute of a trial that ended so: the epoch


def open_study(file: Path, sampler: object = None, attributes: Mapping[str, Any] | None = None) -> Study:
    """The study in a file, made if it is not there; trials are pruned by hyperband (Li et al. 2018, arXiv 1603.06560).

    attributes: of each trial that this process begins.
    """
    import optuna

    from .journal import Journal

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name="tune",
        storage=Journal(file, attributes or {}),
        load_if_exists=True,
        direction="maximize",
        sampler=sampler,  # type: ignore[arg-type]
        pruner=optuna.pruners.HyperbandPruner(min_resource=EVERY),
    )
