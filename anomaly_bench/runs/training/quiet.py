"""The trainer's manners: no chatter on the user's terminal, Ctrl-C stays an interrupt, and SIGTERM is the process's own."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pytorch_lightning import Callback, LightningModule, Trainer

SILENCED = (
    (Warning, r".*LeafSpec.* is deprecated.*"),
    (UserWarning, r".*does not have many workers.*"),
    (UserWarning, r".*[Cc]heckpoint directory .* exists and is not empty.*"),
    (UserWarning, r".*Experiment logs directory .* exists and is not empty.*"),
    (UserWarning, r".*number of training batches .* is smaller than the logging interval.*"),
    (UserWarning, r".*`srun` command is available.*"),
    (UserWarning, r".*GPU available but not used.*"),
    (UserWarning, r".*Total length of `DataLoader` across ranks is zero.*"),
)


@contextmanager
def quiet() -> Iterator[None]:
    """No advertisement, no accelerator report, no advice on workers while a trainer is at work; a warning is its words alone.

    The trainer turns Ctrl-C into a silent exit and ignores the signal from then on; here it is KeyboardInterrupt again.
    """
    handler = signal.getsignal(signal.SIGINT)
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    form = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
        for category, message in SILENCED:
            warnings.filterwarnings("ignore", message, category)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        except SystemExit as ended:
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from ended
        finally:
            warnings.formatwarning = form
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class OwnSigterm(Callback):
    """Gives SIGTERM its handler back, if there was one when this was made.

    The trainer calls it too, but then ends the training with the epoch, before a checkpoint can be written.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if callable(self._handler):
            with suppress(ValueError):  # not the main thread, so that the trainer has not touched it either
                signal.signal(signal.SIGTERM, self._handler)

    on_validation_start = on_test_start = on_train_start
