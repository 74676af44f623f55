"""Several runs trained at once on one device: seed → data → model of each, then a training loop for all of them.

Each has the trainer that it would have alone, with its callbacks, its optimizer and its random numbers; but the loop is the one
below, and the passes through the networks are those of all models at once. What is left is each run's `fitted.ckpt`; from
there on a run is an ordinary one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.trainer.states import TrainerFn

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.identity import Identity
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import RunConfig
from anomaly_bench.models import VAE, build_model
from anomaly_bench.models.batches import image_of, normal_images
from anomaly_bench.models.epoch import Means
from data_modules.modules.base import AnomalyDataModule

from .data import build_data, place_data, with_loaders_of
from .run import start_folder
from .training.averaging import Averaging
from .training.checkpoints import Saver
from .training.quiet import quiet
from .training.random_state import random_state, set_random_state
from .training.stacked import Stacked, check_stacked
from .training.trainer import build_trainer, leave_fitted

PRECISIONS = ("32", "bf16")  # others have more to keep in step than weights
LOOP = [  # what Lightning's loop calls of a model
    *("training_step", "validation_step", "configure_optimizers", "optimizer_step", "optimizer_zero_grad", "backward"),
    *(name for name in dir(VAE) if name.startswith(("on_", "configure_gradient", "transfer_batch"))),
]
CUT = 160  # letters of what torch says
Planned = tuple[RunConfig, Identity]


def train_together(
    runs: Sequence[Planned], reporter: Reporter, data: AnomalyDataModule | None = None
) -> dict[str, Exception]:
    """Train the runs whose training is not over, and leave `fitted.ckpt` in the folder of each.

    Those that had been interrupted go on from their last checkpoint. Returns by run id why one alone has failed. Raises what
    concerns all of them.
    """
    with quiet():
        warnings.filterwarnings("ignore", ".*batching rule.*")  # what torch maps in a loop is small
        data = build_data(runs[0][0], reporter) if data is None else data
        members = [Member(config, identity, data, reporter) for config, identity in runs]
        place_data(runs[0][0], data, members[0].device)
        left = [member for member in members if not member.fitted]
        return Group(left, reporter).train() if left else {}


def check_fusable(config: RunConfig, model: VAE) -> None:
    """Raises ConfigError naming the key that lets no run be trained with others at once, and the engine that does it."""
    trainer = config.trainer
    if config.trial is not None:
        raise ConfigError("engine=fused: a trial is a run of its own, which ends by itself; set engine=local")
    if trainer.devices > 1:
        raise ConfigError(
            f"trainer.devices={trainer.devices}: engine=fused trains on one device; set 1, or engine=local"
        )
    if trainer.compile:
        raise ConfigError("trainer.compile=true: engine=fused compiles nothing; set false, or engine=local")
    if trainer.precision.partition("-")[0] not in PRECISIONS:
        expected = "expected 32-true or bf16-mixed with engine=fused; set one of them, or engine=local"
        raise ConfigError(f"trainer.precision={trainer.precision}: {expected}")
    own = [name for name in dir(type(model)) if name in LOOP and getattr(type(model), name) is not getattr(VAE, name)]
    if own:
        said = f"{type(model).__name__} has a {own[0]} of its own, which engine=fused does not call"
        raise ConfigError(f"model.use={config.model.use}: {said}; set engine=local")
    try:
        check_stacked(model)
    except Exception as error:  # whatever a user's network does that torch.func.vmap cannot map
        named = "use" if config.model.use else "likelihood" if "." in config.model.likelihood else "network"
        said = shorten(str(error).strip().partition("\n")[0], CUT)
        raise ConfigError(
            f"model.{named}={getattr(config.model, named)}: engine=fused cannot train several of it at once "
            f"({type(error).__name__}: {said}); set engine=local"
        ) from error


class Member:
    """One of the runs: all that it would have alone, in its own state of the sources of random numbers."""

    def __init__(self, config: RunConfig, identity: Identity, data: AnomalyDataModule, reporter: Reporter) -> None:
        pl.seed_everything(config.seed, workers=True, verbose=False)
        self.run_id, self.data = identity.run_id, with_loaders_of(config, data)
        self.folder = Path(config.out).expanduser() / identity.folder
        self.model: VAE = build_model(config.model, data.image_shape, data.context)
        note = start_folder(self.folder, config, self.data, identity.run_id, reporter)
        self.fitted = note is not None and note.fitted
        self.saver = Saver(self.folder, identity.run_id, self.data.train_dataloader(), config.trainer)
        self.logger = CSVLogger(self.folder, name="", version="")
        self.trainer = build_trainer(config, self.folder, [self.saver], [self.logger])
        self.callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        self.averaging = next(one for one in self.callbacks if isinstance(one, Averaging))
        self.device = self.trainer.strategy.root_device
        self.validation = self.data.val_dataloader()
        self.noted: dict[str, float] = {}
        self.random = random_state()
        if not self.fitted:
            with self.own_random():
                self._begin(None if note is None else self.folder / note.file)
        self.seconds = self.saver.earlier

    def _begin(self, checkpoint: Path | None) -> None:
        """As Lightning begins a training, from the checkpoint on if there is one."""
        trainer, model = self.trainer, self.model.to(self.device)
        note: Any = self.note
        model.trainer, model.log, model.log_dict = trainer, note, note  # type: ignore[method-assign]
        trainer.strategy.connect(model)
        trainer.state.fn = TrainerFn.FITTING
        trainer.fit_loop.max_batches = len(self.saver.loader)
        self.optimizer: Any = model.configure_optimizers()
        trainer.optimizers = [self.optimizer]
        if checkpoint is not None:
            state = torch.load(checkpoint, weights_only=True, map_location=self.device)
            model.load_state_dict(state["state_dict"])
            self.optimizer.load_state_dict(state["optimizer_states"][0])
            trainer.fit_loop.load_state_dict(state["loops"]["fit_loop"])
            for callback in self.callbacks:
                if callback.state_key in state["callbacks"]:
                    callback.load_state_dict(state["callbacks"][callback.state_key])

    @property
    def over(self) -> bool:
        return self.trainer.should_stop or self.trainer.current_epoch >= (self.trainer.max_epochs or 0)

    @contextmanager
    def own_random(self) -> Iterator[None]:
        """As if nothing but this run drew random numbers."""
        set_random_state(self.random)
        yield
        self.random = random_state()

    @contextmanager
    def own_noise(self) -> Iterator[None]:
        """The same of torch's alone, which is quick enough for every step."""
        on_gpu = self.device.type == "cuda"
        torch.set_rng_state(self.random["torch"])
        if on_gpu:
            torch.cuda.set_rng_state(self.random["cuda"][self.device.index], self.device)
        yield
        self.random["torch"] = torch.get_rng_state()
        if on_gpu:
            self.random["cuda"][self.device.index] = torch.cuda.get_rng_state(self.device)

    def call(self, hook: str) -> None:
        """The hook of the trainer's callbacks and of the model."""
        with self.own_random():
            for callback in self.callbacks:
                getattr(callback, hook)(self.trainer, self.model)
            if hasattr(self.model, hook):
                getattr(self.model, hook)()

    def begin_epoch(self) -> None:
        self.model.train()
        progress = self.trainer.fit_loop.epoch_progress
        progress.increment_ready()
        self.call("on_train_epoch_start")
        progress.increment_started()
        with self.own_random():
            self.batches = iter(self.saver.loader)

    def end_epoch(self) -> None:
        progress = self.trainer.fit_loop.epoch_progress
        progress.increment_processed()
        self.call("on_train_epoch_end")
        self.log()
        progress.increment_completed()

    def step(self) -> None:
        """The optimizer's, on the gradients that are there."""
        self.optimizer.step()
        self.averaging.update()
        self.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.increment_completed()

    def note(self, name: str | Mapping[str, Any], value: Any = None, **_: Any) -> None:
        """In the place of LightningModule.log and log_dict."""
        values = {name: value} if isinstance(name, str) else name
        self.noted |= {key: float(one) for key, one in values.items()}

    def log(self) -> None:
        """Write what was noted since the last time, and show it to the callbacks."""
        if self.noted:
            self.trainer.callback_metrics.update({key: torch.tensor(value) for key, value in self.noted.items()})
            self.logger.log_metrics({**self.noted, "epoch": self.trainer.current_epoch}, self.trainer.global_step - 1)
            self.noted = {}


class Group:
    """The members that are still at it, and their models as one."""

    def __init__(self, members: list[Member], reporter: Reporter) -> None:
        self.members, self.reporter = members, reporter
        self.failed: dict[str, Exception] = {}
        self.device, self.precision = members[0].device, members[0].trainer.precision_plugin
        self.stacked = Stacked([member.model for member in members])

    def train(self) -> dict[str, Exception]:
        """Until the last of them is over; by run id why one has failed."""
        batches, epochs = (
            len(self.members[0].saver.loader),
            max(member.trainer.max_epochs or 0 for member in self.members),
        )
        self.reporter.stage("", batches * epochs)
        self.reporter.advance(batches * min(member.trainer.current_epoch for member in self.members))
        for member in self.members:
            member.call("on_train_start")
        self._leave()
        while self.members:
            start = time.perf_counter()
            for member in self.members:
                member.begin_epoch()
            self._pass(batches)
            self._validate()
            seconds = time.perf_counter() - start
            for member in self.members:
                member.saver.earlier, member.saver.start = (
                    member.seconds + seconds / len(self.members),
                    time.perf_counter(),
                )
                member.seconds = member.saver.earlier
                member.end_epoch()
            self._told()
            self._leave()
        return self.failed

    def _pass(self, batches: int) -> None:
        """An epoch's steps."""
        means = Means()
        for _ in range(batches):
            images, draws = [], []
            for member in self.members:
                with member.own_noise():
                    batch = move_data_to_device(next(member.batches), self.device)
                    images.append(image_of(batch))
                    if not self.stacked.draws:
                        with self.precision.forward_context():
                            self.stacked.record(images[0])
                    draws.append(self.stacked.draw())
            image = torch.stack(images)
            first = self.members[0].model
            first.likelihood.check(first.middle(image.flatten(0, 1)))
            with self.precision.forward_context():
                terms = self.stacked.train(image, draws)
                losses = terms["loss"].mean(dim=1)
            self.stacked.backward(losses)
            means.update({f"train/{name}": term.mean(dim=1) for name, term in terms.items()}, image.shape[1])
            for member in self.members:
                member.step()
            self.reporter.advance()
        for name, values in means.compute().items():
            for member, value in zip(self.members, values.tolist(), strict=True):
                member.noted[name] = value

    def _validate(self) -> None:
        """All on the same batches."""
        for member in self.members:
            member.model.eval()
            member.call("on_validation_epoch_start")
            with member.own_random():
                loaders = [iter(loader) for loader in member.validation]  # each of which draws a number
        trained = [member.noted for member in self.members]
        for loader in loaders:
            for number, batch in enumerate(loader):
                image = normal_images(move_data_to_device(batch, self.device))
                if len(image):
                    noise = self.members[0].model.validation_noise(len(image), number)
                    with self.precision.forward_context():
                        terms = self.stacked.validate(image, noise.to(image))
                    for index, member in enumerate(self.members):
                        member.model.validated({name: term[index] for name, term in terms.items()})
        for member, noted in zip(self.members, trained, strict=True):
            member.noted = {}
            member.call("on_validation_epoch_end")
            member.log()
            member.call("on_validation_end")
            member.noted = noted

    def _told(self) -> None:
        elbos = [float(member.saver.last) for member in self.members]
        epoch = max(member.trainer.current_epoch for member in self.members)
        shown = f"{min(elbos):.1f} to {max(elbos):.1f}"
        self.reporter.note(f"epoch {epoch}, {len(self.members)} runs, ELBO {shown}")

    def _leave(self) -> None:
        """Those whose training has ended leave the others."""
        over = [member for member in self.members if member.over]
        for member in over:
            with member.own_random():
                try:
                    leave_fitted(member.trainer, member.model, member.saver)
                except RuntimeError as error:
                    self.failed[member.run_id] = error
        if over:
            self.members = [member for member in self.members if not member.over]
            if self.members:
                self.stacked.stack([member.model for member in self.members])
