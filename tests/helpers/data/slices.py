"""Cases made up for the slice store, and stores of them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_modules.base.batch import Slices
from data_modules.store.build import build_store
from data_modules.store.journal import Header
from data_modules.store.store import SliceStore

fork = multiprocessing.get_context("fork")


def made_up(subject: str, seed: int, slices: int = 4, size: tuple[int, int] = (9, 7)) -> Slices:
    """Noise of two channels; some slices with two anomalous squares, one of them labelled only, one all foreground."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(slices, 2, *size, generator=generator)
    mask = torch.zeros(slices, 1, *size, dtype=torch.bool)
    mask[seed % slices, 0, 1:3, 1:4] = True
    mask[seed % slices, 0, 5, 5] = True
    mask[(seed + 2) % slices, 0, 0, 0] = True
    foreground = (torch.rand(slices, 1, *size, generator=generator) < 0.7) | mask
    foreground[(seed + 1) % slices] = True
    labelled = mask.flatten(1).any(1)
    labelled[(seed + 1) % slices] = True
    number = torch.arange(slices) * 2 + seed
    return Slices(subject, image, mask, foreground, number, labelled, kept=7, dropped=1, geometry={"shape": [seed, 1]})


def several(count: int = 3) -> list[Slices]:
    """Cases s0, s1, …"""
    return [made_up(f"s{index}", index) for index in range(count)]


def store_of(folder: Path, cases: Sequence[Slices], fingerprint: str = "f", storage: str = "float16") -> SliceStore:
    """A store of the cases, built unless it is there."""
    return build_store(folder, Header("made", fingerprint, {"size": 9}, storage), cases, lambda case: case)


def logged(path: Path, seconds: float = 0.0) -> Callable[[Slices], Slices]:
    """A reader of cases that writes down what it reads."""

    def read(case: Slices) -> Slices:
        with path.open("a") as stream:
            stream.write(case.subject + "\n")
        time.sleep(seconds)
        return case

    return read


def same(one: SliceStore, other: SliceStore) -> bool:
    """Whether two stores give the same batches."""
    rows = np.arange(len(one))
    theirs = other.batch(rows)
    return len(one) == len(other) and all(torch.equal(value, theirs[key]) for key, value in one.batch(rows).items())


def start(target: Callable[..., Any], *arguments: Any) -> Any:
    """A process of its own that does not import everything anew."""
    process = fork.Process(target=target, args=arguments)
    process.start()
    return process
