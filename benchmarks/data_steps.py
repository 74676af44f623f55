"""Where preparing a cohort of volumes spends its time: the CPU time of each step for one subject."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import deflate

from data_modules.modules.nifti import NiftiDataModule
from data_modules.store.build import single_threaded
from data_modules.store.format import encode
from data_modules.transforms.brain import ScanTransform
from data_modules.transforms.resample import resampled
from data_modules.transforms.slicing import Grid, Slicing, cut

DECOMPRESS = "decompressing alone"


def print_steps(data: NiftiDataModule, rounds: int) -> None:
    """The median over subjects and rounds, in milliseconds of one thread; reading includes decompressing."""
    seconds: dict[str, list[float]] = defaultdict(list)

    def step(name: str, task: Callable[..., Any], *given: Any) -> Any:
        start = time.thread_time()
        result = task(*given)
        seconds[name].append(time.thread_time() - start)
        return result

    config: Any = data.config
    slicing = Slicing(config.plane, tuple(config.size), config.min_foreground, config.slice_step)
    with single_threaded():
        for case in list(data.cases) * rounds:
            step(DECOMPRESS, _each, deflate.gzip_decompress, case.files)
            step("SHA-256 of the files", _each, lambda packed: hashlib.sha256(packed).digest(), case.files)
            scan = step("reading", data._read, case)
            source = Grid(scan.shape, scan.affine)
            for own in data._preprocess.steps:
                if isinstance(own.transform, ScanTransform):
                    step(own.key, own.transform.apply, scan)
                else:
                    scan = step(own.key, resampled, scan, own) or scan
            slices = step("slices, resized", cut, scan, source, slicing, case.subject)
            step("encoding and checksums", encode, slices, config.storage)
    floor = median(seconds[DECOMPRESS])
    for name, measured in seconds.items():
        middle = median(measured)
        print(f"  {name}: {middle * 1000:.1f} ms of CPU per subject, {middle / floor:.2f} × decompressing")


def _each(task: Callable[[bytes], Any], files: Iterable[Path]) -> None:
    for file in files:
        task(file.read_bytes())
