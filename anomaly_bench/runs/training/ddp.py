"""One training over several devices: a process for each, which Lightning's DDP keeps in step.

Each trains on its share of an epoch's batches, and all validate on all of the normal validation images, so that the
ELBO that selects is the one that a single process would have. What is left is `fitted.ckpt`; from there on the run is
that of a single process, and so are its metrics.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import BatchSampler, DataLoader, Sampler

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.schema import RunConfig
from data_modules.base.batch import AnomalyBatch
from data_modules.base.errors import DataError

from .checkpoint_note import LOG_FILE, CheckpointNote
from .checkpoints import Saver, usable
from .stop_requests import StopRun, stop_request

LEFT = 3  # exit code of a process that has left when asked to
POLL = 0.2  # seconds between looks at the processes


def train_over_devices(config: RunConfig, folder: Path, run_id: str) -> CheckpointNote:
    """Train, from the run's checkpoint on if there is one; the note of what is left, the trained weights.

    Raises RuntimeError if one of the processes fails, which ends the others, and StopRun if they were asked to leave.
    """
    count = config.trainer.devices
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "NODE_RANK": "0",
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count)),
    }
    command = [sys.executable, "-m", __name__, str(folder), run_id]
    with (folder / LOG_FILE).open("a") as log:
        ranks = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**environment, "LOCAL_RANK": str(rank)}
            )
            for rank in range(count)
        ]
    try:
        _wait(ranks)
    finally:
        for one in ranks:
            one.kill()
            one.wait()
    note = usable(folder, run_id, Reporter())
    if note is None or not note.fitted:
        raise RuntimeError("the training over several devices left no weights")
    return note


def _wait(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    told = False
    while any(rank.poll() is None for rank in ranks):
        if stop_request.save and not told:
            told = True
            for rank in ranks:
                rank.send_signal(signal.SIGUSR2 if stop_request.leave else signal.SIGTERM)
        _check(ranks)
        time.sleep(POLL)
    _check(ranks)


def _check(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    codes = [one.returncode for one in ranks]
    if codes[0] == LEFT:
        raise StopRun
    failed = [(code, rank) for rank, code in enumerate(codes) if code not in (None, 0, LEFT)]
    if failed:
        code, rank = min(failed)  # one that was killed comes before those that missed it
        raise RuntimeError(
            f"process {rank} of {len(codes)} of the training ended with exit code {code}; run.log has why"
        )


class Share(Sampler[list[int]]):
    """Every n-th batch of a sampler, as many for each of the n processes: those too many at the end are left out."""

    def __init__(self, batches: BatchSampler, rank: int, count: int) -> None:
        self.batches, self.rank, self.count = batches, rank, count
        self.sampler = batches.sampler

    def __len__(self) -> int:
        return len(self.batches) // self.count

    def __iter__(self) -> Iterator[list[int]]:
        for index, batch in enumerate(self.batches):
            if index >= len(self) * self.count:
                continue  # to the end, so that the order of the next epoch is the same in all processes
            if index % self.count == self.rank:
                yield batch


class OwnNoise(pl.Callback):
    """Random numbers of its own for each process but the first, whose state checkpoints hold; by seed and epoch."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_rank:
            torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * 1009 + trainer.global_rank)


def shared(loader: DataLoader[AnomalyBatch], rank: int, count: int) -> DataLoader[AnomalyBatch]:
    """The part of a loader's batches that one of `count` processes trains on. Raises DataError if there are too few."""
    batches = loader.batch_sampler
    assert isinstance(batches, BatchSampler)
    if len(batches) < count:
        raise DataError(
            f"trainer.devices={count}: an epoch has but {len(batches)} batches; lower trainer.batch_size or devices"
        )
    return DataLoader(loader.dataset, batch_sampler=Share(batches, rank, count), collate_fn=loader.collate_fn)


def main(arguments: Sequence[str]) -> int:
    """One of the processes: folder of the run, run id."""
    from anomaly_bench.config.load import read_config
    from anomaly_bench.models import build_model
    from anomaly_bench.runs.data import build_data, place_data

    from .quiet import quiet
    from .trainer import build_trainer, fit

    threading.Thread(target=_die_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, lambda *_: _wish(leave=False))
    signal.signal(signal.SIGUSR2, lambda *_: _wish(leave=True))
    folder, run_id, rank = Path(arguments[0]), arguments[1], int(os.environ["LOCAL_RANK"])
    config = read_config(folder / "config.yaml")
    with quiet():
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # all validate on all images
        pl.seed_everything(config.seed, workers=True, verbose=False)
        data = build_data(config, Reporter())
        model = build_model(config.model, data.image_shape, data.context)
        loader = shared(data.train_dataloader(), rank, config.trainer.devices)
        saver = Saver(folder, run_id, loader, config.trainer)
        callbacks = [saver, OwnNoise(config.seed)]
        loggers: list[pl.loggers.Logger] = [CSVLogger(folder, name="", version="")] if rank == 0 else []
        trainer = build_trainer(config, folder, callbacks, loggers, config.trainer.devices)
        place_data(config, data, trainer.strategy.root_device)
        try:
            fit(trainer, model, data, saver, usable(folder, run_id, Reporter()), config.trainer.compile)
        except StopRun:
            os._exit(LEFT)
    sys.stdout.flush()
    os._exit(0)  # the other processes may be gone already, which the exit handlers of a process group do not like


def _wish(leave: bool) -> None:
    stop_request.save, stop_request.leave = True, leave


def _die_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock the end of a process that has failed would wait for in vain
        pass
    os._exit(1)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
