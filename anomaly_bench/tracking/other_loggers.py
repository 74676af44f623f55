"""TensorBoard and MLflow, under the same names as W&B; both are optional packages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger

from ..errors import ConfigError
from .names import PROJECT, named

ANONYMOUS = {"mlflow.user": "anomaly-bench", "mlflow.source.name": "anomaly-bench"}  # else the login and a path


class Named(Logger):
    """Renames what the trainer logs; to be mixed into a logger."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(named(metrics), step)  # type: ignore[safe-super]

    def log_final(self, numbers: Mapping[str, float], step: int) -> None:
        """What was measured once the training was over."""
        super().log_metrics(dict(numbers), step)  # type: ignore[safe-super]
        self.finalize("success")


class NamedTensorBoard(Named, TensorBoardLogger):
    """Writes to <run>/tensorboard."""


class NamedMLFlow(Named, MLFlowLogger):
    """Logs to $MLFLOW_TRACKING_URI, else to `mlflow.db` beside the runs."""


def other_logger(kind: str, folder: Path, name: str, group: str, config: Mapping[str, Any]) -> Logger:
    """The logger that `logger=` names: tensorboard or mlflow. Raises ConfigError where its package is missing."""
    logger: Logger
    try:
        if kind == "tensorboard":
            logger = NamedTensorBoard(folder, name="tensorboard", version="")
        else:
            uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.absolute().parent / 'mlflow.db'}")
            tags = {**ANONYMOUS, "group": group, "run_id": str(config["run_id"])}
            project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            logger = NamedMLFlow(project, name, tracking_uri=uri, tags=tags)
    except ModuleNotFoundError as error:
        raise ConfigError(f"logger={kind}: it is not installed; pip install 'anomaly-bench[{kind}]'") from error
    logger.log_hyperparams(dict(config))
    return logger
