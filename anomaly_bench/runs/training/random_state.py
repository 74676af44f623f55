"""The state of every source of random numbers, so that a training goes on as if it had never stopped."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from data_modules.base.batch import AnomalyBatch


def random_state(loader: DataLoader[AnomalyBatch] | None = None) -> dict[str, Any]:
    """Of the process's sources of random numbers, and of those that order and augment the batches of a loader."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": _plain(np.random.get_state(legacy=True)),  # noqa: NPY002
        "python": random.getstate(),
        "orders": [generator.get_state() for generator in _generators(loader)],
        "augment": [_plain(source.get_state(legacy=True)) for source in _sources(loader)],
    }


def set_random_state(state: dict[str, Any], loader: DataLoader[AnomalyBatch] | None = None) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(_legacy(state["numpy"]))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    for generator, order in zip(_generators(loader), state["orders"], strict=True):
        generator.set_state(order)
    for source, augment in zip(_sources(loader), state["augment"], strict=True):
        source.set_state(_legacy(augment))


def _generators(loader: DataLoader[AnomalyBatch] | None) -> list[torch.Generator]:
    batches = getattr(loader, "batch_sampler", None)
    found = getattr(getattr(batches, "sampler", None), "generator", None)
    return [found] if isinstance(found, torch.Generator) else []


def _sources(loader: DataLoader[AnomalyBatch] | None) -> list[np.random.RandomState]:
    """Those of the transforms that augment training images, nested ones included, in a fixed order."""
    found: list[np.random.RandomState] = []
    seen: set[int] = set()

    def walk(value: Any) -> None:
        if id(value) in seen or isinstance(value, str | bytes | Tensor | np.ndarray | type):
            return
        seen.add(id(value))
        if isinstance(value, np.random.RandomState):
            found.append(value)
            return
        values = value if isinstance(value, dict | list | tuple) else getattr(value, "__dict__", {})
        for inner in values.values() if isinstance(values, Mapping) else values:
            walk(inner)

    walk(getattr(getattr(loader, "dataset", None), "augment", None))
    return found


def _plain(state: Any) -> list[Any]:
    """NumPy's legacy state in types that torch loads without running code."""
    name, words, *rest = state
    return [name, torch.from_numpy(words.astype(np.int64)), *rest]


def _legacy(state: list[Any]) -> tuple[Any, ...]:
    name, words, *rest = state
    return (name, words.numpy().astype(np.uint32), *rest)
