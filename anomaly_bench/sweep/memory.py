"""What memory a run takes at the least, and what there is: what cannot be is refused before anything is read or made."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor, nn

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.text import human_bytes
from anomaly_bench.config.schema import FusedConfig, ModelConfig, RunConfig, SlurmConfig
from anomaly_bench.models import VAE, build_model, input_size
from anomaly_bench.runs.identity import device_of

KEPT = 4  # times the parameters: they themselves, their gradients and two means of either
SHARE = 0.7  # of what layers give is kept for gradients in every model that we ship; of most it is all, of some twice as much
CGROUPS = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}  # version 2; version 1


@dataclass(frozen=True)
class Weight:
    """How many numbers a model has, and how many its layers give of one image."""

    parameters: float
    features: float


def weigh(config: ModelConfig, shape: tuple[int, ...], context: int = 0) -> Weight | None:
    """The weight of a model for images of shape (C, H, W), which takes no memory; None where a user's own code does not let it.

    context: how many neighbours on either side go with an image. Raises ConfigError for a model that cannot be built.
    """
    try:
        with torch.device("meta"):
            model = build_model(config, shape, context)
            return Weight(sum(one.numel() for one in model.parameters()), _features(model, model.input_shape))
    except ConfigError as error:
        if " meta " in str(error):
            return None
        raise
    except Exception as error:  # a user's own network may do what only works with numbers
        return Weight(math.inf, math.inf) if "overflow" in str(error) else None


@dataclass(frozen=True)
class Need:
    """Bytes that a training takes at the least, for model and optimizer, a batch with its features, and data that are held."""

    model: float = 0.0
    batch: float = 0.0
    held: float = 0.0

    @property
    def total(self) -> float:
        return self.model + self.batch + self.held


def need_of(config: RunConfig, weight: Weight, shape: tuple[int, ...], images: int, slices: int = 0) -> Need:
    """What a training with the config takes.

    images: of the largest part of the data, which a batch cannot exceed; slices: of the whole store.
    """
    trainer, context = config.trainer, config.dataset.context
    each = 2 if "16" in trainer.precision else 4
    seen = SHARE * weight.features + (2 * context + 1) * input_size(shape)
    held = slices * input_size(shape) / (config.dataset.depth or 1)
    held *= (1 if config.dataset.storage == "uint8" else 2) * bool(trainer.hold_data)
    return Need(KEPT * each * weight.parameters, min(trainer.batch_size, images) * each * seen, held)


def check_memory(config: RunConfig, need: Need, at_once: Sequence[Need] = ()) -> None:
    """Raises ConfigError naming the keys if a training takes more memory than the device that it is for has in all.

    at_once: what the trainings take that `jobs` or `engine.together` have beside each other on that device, this one among
    them. The estimate is what none can do without; real ones take more.
    """
    has = available(config)
    together = sum(one.total for one in at_once)
    if has is None or max(need.total, together) <= has:
        return
    said = f"there is {human_bytes(has)}"
    if need.total <= has:
        key = (
            f"engine.together={config.engine.together}"
            if isinstance(config.engine, FusedConfig)
            else f"jobs={config.jobs}"
        )
        raise ConfigError(
            f"{key}: {len(at_once)} runs at once take at least {human_bytes(together)} of memory, {said}; lower it, or what "
            f"each of them takes (trainer.batch_size={config.trainer.batch_size}, model.latent={config.model.latent})"
        )
    keys = {
        f"model.latent={config.model.latent}, model.channels={config.model.channels}": need.model,
        f"trainer.batch_size={config.trainer.batch_size}": need.batch,
        f"trainer.hold_data={str(config.trainer.hold_data).lower()}": need.held,
    }
    most = max(keys, key=lambda key: keys[key])
    raise ConfigError(
        f"{most}, dataset.size={list(config.dataset.size)}: such a run takes at least {human_bytes(need.total)} of memory (the "
        f"model {human_bytes(need.model)}, a batch {human_bytes(need.batch)}), {said}; lower one of these keys"
    )


def available(config: RunConfig) -> int | None:
    """All bytes of the GPU, or of this machine as far as its control group lets us; None of a machine that is not known."""
    if isinstance(config.engine, SlurmConfig):
        asked = config.engine.mem_gb if not config.engine.gpus else None
        return None if asked is None else int(asked * 2**30)
    if device_of(config) == "cuda":
        every = range(torch.cuda.device_count())
        return max(int(torch.cuda.get_device_properties(index).total_memory) for index in every)
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits()])


def limits(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The limits in bytes that the control groups of this process, and those above them, set to its memory."""
    found = []
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, place = line.split(":", 2)
        for controller in CGROUPS.keys() & set(controllers.split(",")):
            folder, name = CGROUPS[controller]
            path = PurePosixPath(place.lstrip("/"))
            for part in (path, *path.parents):
                file = root / folder / part / name
                text = file.read_text().strip() if file.is_file() else ""
                found += [int(text)] if text.isdigit() else []
    return found


def _features(model: VAE, shape: tuple[int, ...]) -> int:
    """How many numbers the layers give of one image, by a pass without numbers."""
    sizes: list[int] = []

    def note(layer: nn.Module, given: object, output: object) -> None:
        parts = output if isinstance(output, tuple) else (output,)
        sizes.extend(part.numel() for part in parts if isinstance(part, Tensor))

    for layer in model.modules():
        if not any(layer.children()) and not isinstance(layer, nn.Flatten | nn.Identity):
            layer.register_forward_hook(note)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    return sum(sizes)
