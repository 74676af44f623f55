"""Loggers of a run: CSV always, W&B when asked."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from data_modules.names import dataset_name

from ..identity import Identity
from ..schema import RunConfig

PROJECT = "anomaly_bench"
INIT_TIMEOUT = 10.0


def build_loggers(config: RunConfig, identity: Identity, folder: Path, described: dict[str, Any]) -> list[Logger]:
    """CSV in `folder`; with `logger=wandb` a W&B run too, offline where there is no login.

    W&B that cannot start is a warning, never a failed run.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if config.logger == "wandb" and (wandb := _wandb(config, identity, folder, described)):
        loggers.append(wandb)
    return loggers


@contextmanager
def finishing(loggers: list[Logger], pictures: Path) -> Iterator[None]:
    """Send the picture panels and close the loggers at the end, as failed if the run fails; a W&B error is a warning."""
    try:
        yield
    except BaseException:
        _finish(loggers, pictures, exit_code=1)
        raise
    _finish(loggers, pictures, exit_code=0)


def _finish(loggers: list[Logger], pictures: Path, exit_code: int) -> None:
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            try:
                import wandb

                panels = {f"pictures/{path.stem}": wandb.Image(str(path)) for path in sorted(pictures.glob("*.png"))}
                logger.experiment.log(panels)
                logger.experiment.finish(exit_code)
            except Exception as error:  # whatever W&B raises, the run's result stands
                warnings.warn(f"W&B could not finish ({error}); the run and its files are complete", stacklevel=3)


def _wandb(config: RunConfig, identity: Identity, folder: Path, described: dict[str, Any]) -> WandbLogger | None:
    try:
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")
        try:
            return _start(config, identity, folder, described, mode)
        except wandb.errors.Error as error:
            if mode != "online":
                raise
            warnings.warn(f"W&B does not answer ({error}); logging offline, push later with `wandb sync`", stacklevel=2)
            wandb.teardown()  # the failed start still holds the run's id
            return _start(config, identity, folder, described, "offline")
    except Exception as error:  # an unreachable or refusing server must not cost a run
        warnings.warn(f"W&B could not start ({type(error).__name__}: {error}); going on without it", stacklevel=2)
        return None


def _start(config: RunConfig, identity: Identity, folder: Path, described: dict[str, Any], mode: str) -> WandbLogger:
    import wandb

    settings = wandb.Settings(
        mode=mode,  # type: ignore[arg-type]  # the environment may say anything; W&B checks it
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        init_timeout=INIT_TIMEOUT,
        x_disable_stats=True,
    )
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        dir=folder,
        id=identity.run_id[:16],
        name=identity.folder.rsplit("-", 1)[0],
        group=f"{dataset_name(config.dataset)}/{config.model.name}",
        job_type="run",
        config=described,
        settings=settings,
    )
    return WandbLogger(experiment=run)
