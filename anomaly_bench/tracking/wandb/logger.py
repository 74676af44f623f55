"""The logger of a run at W&B: one row of history per epoch, then one with everything that was measured."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from pytorch_lightning.loggers.logger import Logger

from anomaly_bench.tracking.names import STEP, goals, named

from .start import SYNC, keep_for_sync

if TYPE_CHECKING:
    import wandb

P = ParamSpec("P")
LOOKS = 4_000_000  # bytes of the pictures drawn while training that a run logs; the others stay in its folder


def harmless(
    call: Callable[Concatenate[WandbLogger, P], None],
) -> Callable[Concatenate[WandbLogger, P], None]:
    """Whatever W&B raises is a warning, and the last that the run hears of it."""

    @wraps(call)
    def guarded(self: WandbLogger, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.broken:
            return
        try:
            call(self, *args, **kwargs)
        except Exception as error:
            self.broken = True
            warnings.warn(f"W&B failed ({type(error).__name__}: {error}); the run goes on without it", stacklevel=2)

    return guarded


class WandbLogger(Logger):
    """Logs to a W&B run that was started; nothing that W&B does fails the run.

    Rows of epochs that the server has from an attempt before an interruption are not repeated. pictures: the folder with
    those that are drawn while training, `epoch_<number>/overview.png`.
    """

    def __init__(self, run: wandb.Run, pictures: Path) -> None:
        super().__init__()
        self.run, self.pictures, self.broken = run, pictures, False
        self.known = int(run.summary.get(STEP, -1)) if run.resumed else -1
        self._row: dict[str, Any] = {}
        self._epoch = 0
        self._defined: set[str] = set()
        self._looked = 0
        run.define_metric(STEP, hidden=True)

    @property
    def name(self) -> str:
        return str(self.run.project)

    @property
    def version(self) -> str:
        return str(self.run.id)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: the config was given at the start."""

    @harmless
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add what the trainer logs to the row of its epoch."""
        values = dict(metrics)
        epoch = int(values.pop("epoch", self._epoch))
        if epoch != self._epoch:
            self.flush()
        self._epoch = epoch
        self._row |= named(values)

    @harmless
    def log_final(self, values: Mapping[str, Any]) -> None:
        """The last row: what was measured once the training was over, numbers and media."""
        self._row |= values
        self.known = -1
        self.flush()

    def finish(self, exit_code: int) -> None:
        """Close the W&B run; what cannot be sent in time stays in its folder, where `wandb sync` finds it."""
        self.flush()
        folder = Path(self.run.settings.sync_dir)
        try:
            self.run.finish(exit_code)
            shutil.rmtree(folder / "logs", ignore_errors=True)  # W&B's own, with paths in them
        except Exception as error:  # whatever W&B raises, the run's result stands
            why = str(error) or type(error).__name__
            warnings.warn(f"W&B could not finish ({why}); the run and its files are complete, {SYNC}", stacklevel=2)
            with suppress(OSError):
                keep_for_sync(folder)

    @harmless
    def flush(self) -> None:
        """Log the row of the epoch that is over."""
        row, self._row = self._row, {}
        if not row or self._epoch <= self.known:
            return
        for key, goal in goals(key for key, value in row.items() if isinstance(value, float | int)).items():
            if key not in self._defined:
                self._defined.add(key)
                self.run.define_metric(key, step_metric=STEP, summary=goal)
        row |= self._look(self._epoch)
        _keep_tables(self.run, row)
        self.run.log({STEP: self._epoch, **row})

    def _look(self, epoch: int) -> dict[str, Any]:
        """The panel of the look at localization after an epoch, while there is room for it."""
        path = self.pictures / f"epoch_{epoch + 1:03d}" / "overview.png"
        if not path.exists() or self._looked >= LOOKS:
            return {}
        shown = picture_of(path, f"after epoch {epoch + 1}")
        self._looked += shown._size or 0
        return {"monitor/overview": shown}


def picture_of(path: Path, caption: str) -> wandb.Image:
    """A file of the run's pictures as W&B's, in fewer bytes."""
    import wandb
    from PIL import Image

    with Image.open(path) as picture:
        return wandb.Image(picture.convert("RGB"), caption=caption, file_type="jpg")


def _keep_tables(run: wandb.Run, row: Mapping[str, Any]) -> None:
    """Tables become files of the run, as pictures are, not artifacts: those would lie outside its folder while offline."""
    from wandb import Table
    from wandb.plot import CustomChart

    for key, value in row.items():
        if isinstance(value, CustomChart):
            value.set_key(key)
            value.table.bind_to_run(run, value.spec.table_key, run.step)
        elif isinstance(value, Table):
            value.bind_to_run(run, key, run.step)
