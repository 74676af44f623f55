import os
import signal
import warnings

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from anomaly_bench.models import BetaVAE
from anomaly_bench.runs.training.quiet import OwnSigterm, quiet
from anomaly_bench.runs.training.trainer import compiled


class Told(pl.LightningModule):
    """Gets SIGTERM in its first epoch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        if self.current_epoch == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_process_with_a_handler_for_sigterm_goes_on_training():
    told = []
    before = signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    try:
        with quiet():
            trainer = pl.Trainer(
                max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                callbacks=[OwnSigterm()],
            )  # fmt: skip
            trainer.fit(Told(), DataLoader(torch.ones(1, 1)))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [True]
    assert trainer.current_epoch == 3


def test_a_warning_while_training_is_its_words_alone_and_an_ordinary_one_after():
    before = warnings.formatwarning(UserWarning("words"), UserWarning, "file.py", 3)
    with quiet():
        assert warnings.formatwarning(UserWarning("words"), UserWarning, "file.py", 3) == "warning: words\n"
    assert warnings.formatwarning(UserWarning("words"), UserWarning, "file.py", 3) == before
    assert "file.py:3" in before


def test_the_step_is_compiled_while_it_trains_and_as_it_was_afterwards(monkeypatch):
    model, asked = BetaVAE((1, 16, 16), latent=2, channels=(4,)), []
    monkeypatch.setattr(
        torch, "compile", lambda call, mode: asked.append((call, mode)) or (lambda image: {"loss": image})
    )
    with compiled(model, compile_step=False):
        assert "training_terms" not in vars(model)
    with compiled(model, compile_step=True):
        assert model.training_terms("an image") == {"loss": "an image"}
    assert asked == [(model.training_terms, "reduce-overhead")]
    assert "training_terms" not in vars(model)
