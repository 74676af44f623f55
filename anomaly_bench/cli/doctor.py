"""Is this machine ready: versions, devices, disk, caches."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from anomaly_bench.base.errors import OutputError
from anomaly_bench.base.files import check_writable, free_bytes
from anomaly_bench.runs.code_digest import VERSIONED

ABOUT = "versions, devices, disk and embedded data, in one look"
EXAMPLE = ""
EXITS = "0 all is ready for a run; 1 something stands in the way"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes nothing."""


def call(options: argparse.Namespace) -> int:
    """Print what was found; 1 if something stands in the way of a run, else 0."""
    from rich.console import Console

    from anomaly_bench.config.load import load_config
    from data_modules.base.options.folders import config_dirs, options_of
    from data_modules.catalog.entries import look

    del options
    console = Console(highlight=False)
    console.print(f"{'python':<18}{platform.python_version()}")
    sound = True
    for name in ("anomaly-bench", *VERSIONED, "hydra-core", "omegaconf", "wandb"):
        try:
            console.print(f"{name:<18}{version(name)}")
        except PackageNotFoundError:
            console.print(f"{name:<18}missing: `pip install {name}`")
            sound = False
    import torch  # takes seconds: what is above is printed before

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    console.print(f"{'device':<18}{device}")
    console.print(f"{'configs':<18}{', '.join(str(folder) for folder in config_dirs())}", soft_wrap=True)
    config = load_config([])
    for title, folder in (("cache", config.cache), ("output", Path(config.out))):
        try:
            check_writable(folder)
            console.print(f"{title:<18}{folder}, {free_bytes(folder) / 2**30:.0f} GiB free")
        except OutputError as error:
            console.print(f"{title:<18}{error}")
            sound = False
    composed = {name: load_config([f"dataset={name}"]) for name in options_of("dataset")}
    there = [name for name, one in composed.items() if look(name, one.dataset, one.cache, one.data).state == "here"]
    absent = "" if config.data.is_dir() else " (which is not there)"
    at_hand = ", ".join(there) or "nothing yet"
    console.print(f"{'data':<18}{config.data}{absent}; at hand: {at_hand}; anomaly-bench data list, data verify")
    return 0 if sound else 1
