"""TensorBoard and MLflow, under the same names as W&B; both are optional packages."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger

from anomaly_bench.base.errors import ConfigError

from .names import PROJECT, named

ANONYMOUS = {"mlflow.user": "anomaly-bench", "mlflow.source.name": "anomaly-bench"}  # else the login and a path
FINISH_TIMEOUT = 8.0  # seconds for what is left when a run is over
Job = Callable[[Logger], None]


class Patient(Logger):
    """Hands everything to another logger in a thread of its own: it may fail or hang, and the run goes on.

    make: builds that logger, in the thread; trouble is one warning, at the next call or at the end.
    """

    def __init__(self, kind: str, make: Callable[[], Logger]) -> None:
        super().__init__()
        self._kind, self._jobs = kind, SimpleQueue[Job | None]()
        self._error: Exception | None = None
        self._warned = False
        self._thread = threading.Thread(target=self._work, args=(make,), daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._kind

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: the config was given at the start."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """What the trainer logs, renamed."""
        self.log_final(named(metrics), step)

    def log_final(self, numbers: Mapping[str, float], step: int | None) -> None:
        """What was measured once the training was over, under its names."""
        self._warn()
        self._jobs.put(lambda logger: logger.log_metrics(dict(numbers), step))

    def finish(self, exit_code: int) -> None:
        """Close the other logger, within FINISH_TIMEOUT."""
        self._jobs.put(lambda logger: logger.finalize("failed" if exit_code else "success"))
        self._jobs.put(None)
        self._thread.join(FINISH_TIMEOUT)
        if self._thread.is_alive():
            self._error = TimeoutError(f"no answer in {FINISH_TIMEOUT:g} s")
        self._warn()

    def _work(self, make: Callable[[], Logger]) -> None:
        try:
            logger = make()
            while (job := self._jobs.get()) is not None:
                job(logger)
        except Exception as error:  # a server or a disk that fails must not cost a run
            self._error = error

    def _warn(self) -> None:
        if self._error and not self._warned:
            self._warned = True
            why = f"{type(self._error).__name__}: {' '.join(str(self._error).split())[:300]}"
            warnings.warn(f"logger={self._kind} failed ({why}); the run goes on without it", stacklevel=3)


def other_logger(kind: str, folder: Path, name: str, group: str, config: Mapping[str, Any]) -> Patient:
    """The logger that `logger=` names: tensorboard, in <run>/tensorboard, or mlflow, at $MLFLOW_TRACKING_URI, else in
    `mlflow.db` beside the runs.

    Raises ConfigError where its package is missing.
    """
    try:
        import_module(kind)
    except ModuleNotFoundError as error:
        raise ConfigError(f"logger={kind}: it is not installed; pip install 'anomaly-bench[{kind}]'") from error

    def make() -> Logger:
        logger: Logger
        if kind == "tensorboard":
            logger = TensorBoardLogger(folder, name="tensorboard", version="")
        else:
            uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute().parent / 'mlflow.db'}"
            tags = {**ANONYMOUS, "group": group, "run_id": str(config["run_id"])}
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            logger = MLFlowLogger(experiment, name, tracking_uri=uri, tags=tags)
        logger.log_hyperparams(dict(config))
        return logger

    return Patient(kind, make)
