"""The verb `data prepare`, and how all verbs that read a dataset come by it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from anomaly_bench.base.files import CACHE, explained
from anomaly_bench.base.text import human_bytes, plural
from anomaly_bench.cli.arguments import Records, add_config_dir, add_overrides

if TYPE_CHECKING:
    from anomaly_bench.config.schema import RunConfig
    from data_modules.base.digests import Progress
    from data_modules.modules.base import AnomalyDataModule

ABOUT = "build the slice store that a run would build first"
EXAMPLE = "dataset=mvtec_ad dataset.category=bottle,cable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_datasets(parser)


def add_datasets(parser: argparse.ArgumentParser) -> None:
    """Which datasets."""
    keys = "dataset=brats dataset.root=/data/BraTS dataset.modality=[flair,t1]"
    add_overrides(parser, f"dataset=NAME and any of its keys, e.g. {keys}")
    add_config_dir(parser)


def call(options: argparse.Namespace) -> tuple[int, Records]:
    from anomaly_bench.config.grid import load_grid
    from data_modules.base.names import dataset_name, unit_of

    found = []
    for config in load_grid(options.overrides):
        data = prepared(config)
        store = data.store
        size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
        counts = f"{plural(len(store.subjects), unit_of(config.dataset))}, {plural(len(store), 'slice')}"
        print(f"{store.folder.name}: {counts}, {human_bytes(size)}")
        print(f"  fingerprint {data.fingerprint}\n  {store.folder}")
        found.append(
            {
                "dataset": dataset_name(config.dataset),
                "folder": store.folder,
                "fingerprint": data.fingerprint,
                "subjects": len(store.subjects),
                "slices": len(store),
                "bytes": size,
            }
        )
    return 0, found


def module_of(config: RunConfig, progress: Progress | None = None) -> AnomalyDataModule:
    from data_modules.modules.build import build_module

    return build_module(config.dataset, config.cache, config.data, progress=progress)


def prepared(config: RunConfig) -> AnomalyDataModule:
    """The data module of a config with its slice store built, unless it is there: the cache may be read-only then."""
    from anomaly_bench.base.bars import bar
    from anomaly_bench.runs.training.quiet import quiet

    with quiet(), explained(config.cache, CACHE), bar(f"prepare {config.dataset.name}") as progress:
        data = module_of(config, progress)
        data.prepare_data()
    return data
