"""The verbs of `anomaly-bench data` that read a dataset: describe, verify and prepare."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_bench.base.progress import bar

from .data_json import STDOUT, check_json, write_json

if TYPE_CHECKING:
    from anomaly_bench.config.schema import RunConfig
    from data_modules.base.digests import Progress
    from data_modules.modules.base import AnomalyDataModule


def describe_verb(options: argparse.Namespace) -> int:
    from anomaly_bench.base.files import check_writable, explained
    from data_modules.base.names import dataset_name
    from data_modules.inspect.contact_sheet import contact_sheet
    from data_modules.inspect.describe import describe
    from data_modules.inspect.histograms import draw_histograms

    from .description_tables import description_tables

    remedy = "choose another folder (--out DIR)"
    check_json(options.json)
    configs = _configs(options.overrides)
    names = [dataset_name(config.dataset) for config in configs]
    found = []
    for config, name in zip(configs, names, strict=True):
        check_writable(options.out or Path("describe"), remedy)
        data = _prepared(config)
        data.setup()
        folder = name if names.count(name) == 1 else data.store.folder.name
        out = options.out if options.out and len(configs) == 1 else (options.out or Path("describe")) / folder
        with bar("describe") as progress:
            description = describe(data, progress)
        with explained(out, remedy):
            out.mkdir(parents=True, exist_ok=True)
            contact_sheet(data, out / "sheet.png")
            draw_histograms(description, out / "histograms.png")
        pictures = [str(out / file) for file in ("sheet.png", "histograms.png")]
        if options.json != STDOUT:
            description_tables(description)
            print(f"\nPictures  {', '.join(pictures)}")
        found.append(description.to_dict() | {"pictures": pictures})
    write_json(options.json, found)
    return 0


def verify_verb(options: argparse.Namespace) -> int:
    from data_modules.inspect.findings import ERROR
    from data_modules.inspect.verify import verify

    from .finding_tables import findings_list

    check_json(options.json)
    found = []
    for config in _configs(options.overrides):
        with bar(f"verify {config.dataset.name}") as progress:
            found.append(verify(_module(config, progress), progress, all_modalities=options.all_modalities))
        if options.json != STDOUT:
            findings_list(found[-1])
    write_json(options.json, [one.to_dict() for one in found])
    return 1 if any(one.count(ERROR) for one in found) else 0


def prepare_verb(options: argparse.Namespace) -> int:
    from data_modules.base.names import dataset_name, unit_of

    from .data_tables import human_bytes, plural

    check_json(options.json)
    found = []
    for config in _configs(options.overrides):
        data = _prepared(config)
        store = data.store
        size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
        if options.json != STDOUT:
            counts = f"{plural(len(store.subjects), unit_of(config.dataset))}, {plural(len(store), 'slice')}"
            print(f"{store.folder.name}: {counts}, {human_bytes(size)}")
            print(f"  fingerprint {data.fingerprint}")
            print(f"  {store.folder}")
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
    write_json(options.json, found)
    return 0


def _configs(overrides: list[str]) -> list[RunConfig]:
    """The config of every combination of values, such as dataset=a,b."""
    from anomaly_bench.config.grid import load_grid

    return load_grid(overrides)


def _module(config: RunConfig, progress: Progress | None = None) -> AnomalyDataModule:
    from data_modules.modules.build import build_module

    return build_module(config.dataset, config.cache, config.data, progress=progress)


def _prepared(config: RunConfig) -> AnomalyDataModule:
    """The data module of a config with its slice store built, unless it is there: the cache may be read-only then."""
    from anomaly_bench.base.files import CACHE, explained
    from anomaly_bench.runs.training.quiet import quiet

    with quiet(), explained(config.cache, CACHE), bar(f"prepare {config.dataset.name}") as progress:
        data = _module(config, progress)
        data.prepare_data()
    return data
