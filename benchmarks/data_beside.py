"""What the data wing is measured against: bare decoders, and MONAI's CacheDataset and PersistentDataset."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from timing import timed

from data_modules.base.digests import usable_cpus
from data_modules.store.store import SliceStore

BATCH = 32
DECODERS = {
    "isal": ("isal.isal_zlib", lambda module, data: module.decompress(data, wbits=31)),
    "zlib-ng": ("zlib_ng.zlib_ng", lambda module, data: module.decompress(data, wbits=31)),
    "libdeflate": ("deflate", lambda module, data: module.gzip_decompress(data)),
    "zlib": ("zlib", lambda module, data: module.decompress(data, wbits=31)),
}


def decompress(files: Sequence[Path], module: Any, decode: Callable[[Any, bytes], bytes]) -> None:
    """Decompress the files on all cores, and keep nothing."""

    def one(file: Path) -> int:
        return len(decode(module, file.read_bytes()))

    with ThreadPoolExecutor(usable_cpus()) as pool:
        list(pool.map(one, files))


def monai_volumes(cases: Sequence[Any]) -> Any:
    """The cohort as a CacheDataset of volumes, scaled as the literature does."""
    from monai.data import CacheDataset
    from monai.transforms import Compose, LoadImaged, Orientationd, ScaleIntensityRangePercentilesd

    items = [{"image": str(case.files[0]), "label": str(case.files[-1])} for case in cases]
    keys = ["image", "label"]
    steps = [
        LoadImaged(keys, ensure_channel_first=True),
        Orientationd(keys, axcodes="RAS", labels=None),
        ScaleIntensityRangePercentilesd(["image"], 1, 99, 0, 1),
    ]
    return CacheDataset(items, Compose(steps), num_workers=usable_cpus(), progress=False)


def monai_slices(store: SliceStore, rows: np.ndarray, rounds: int) -> None:
    """Random batches of the same slices from MONAI's datasets, whose items are collated."""
    from monai.data import CacheDataset, PersistentDataset, list_data_collate

    def item(row: int) -> dict[str, Any]:
        return {key: value[0] for key, value in store.batch(np.array([row])).items()}  # type: ignore[index]

    chosen = [int(row) for row in rows[:256]]
    draws = np.random.default_rng(0).integers(len(chosen), size=(10, BATCH))
    with tempfile.TemporaryDirectory() as folder:
        datasets = {
            "CacheDataset": CacheDataset(chosen, item, progress=False),
            "PersistentDataset": PersistentDataset(chosen, item, folder),
        }
        times = timed(
            {
                name: lambda dataset=dataset: [list_data_collate([dataset[int(at)] for at in draw]) for draw in draws]
                for name, dataset in datasets.items()
            },
            rounds,
        )
    for name in datasets:
        print(f"  MONAI {name}: {draws.size / times.median(name):,.0f} per second")
