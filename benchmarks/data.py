"""How quick the data wing is, as ratios to what it cannot beat, each pair measured side by side in one run.

Run it by hand: `python benchmarks/data.py`, on volumes made up after BraTS (240×240×155; 2 MB of FLAIR and a label),
or with a dataset's overrides on real ones: `python benchmarks/data.py dataset=open_ms data_dir=FOLDER`. It prints

- preparing a cohort, over decompressing the same files on all cores with the quickest decoder that is installed;
- the memory that preparing takes, in volumes (float32) per core;
- random slices from the store, over a bare copy of the same slices within memory;
- a training epoch from the store, over the same epoch on tensors in memory;

and MONAI's CacheDataset and PersistentDataset beside them.
"""

from __future__ import annotations

import gzip
import importlib
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomaly_bench.config import load_config
from anomaly_bench.schema import RunConfig
from data_modules.build import build_module
from data_modules.digests import usable_cpus
from data_modules.module import AnomalyDataModule
from data_modules.store import SliceStore
from data_modules.store_build import single_threaded

SUBJECTS, SHAPE = 10, (240, 240, 155)
ROUNDS, BATCHES, BATCH = 9, 50, 32
DECODERS = {
    "isal": ("isal.isal_zlib", lambda module, data: module.decompress(data, wbits=31)),
    "zlib-ng": ("zlib_ng.zlib_ng", lambda module, data: module.decompress(data, wbits=31)),
    "libdeflate": ("deflate", lambda module, data: module.gzip_decompress(data)),
    "zlib": ("zlib", lambda module, data: module.decompress(data, wbits=31)),
}


def write_cohort(root: Path) -> list[str]:
    """Subjects in BraTS's layout, their names: smooth tissue and noise in an ellipsoid, int16; a lesion, uint8; gzip."""
    import nibabel as nib
    from scipy import ndimage

    grid = np.stack(np.meshgrid(*(np.linspace(-1.4, 1.4, n) for n in SHAPE), indexing="ij")).astype(np.float32)
    inside = (grid**2).sum(0) < 0.9
    lesion = ((grid - 0.3) ** 2).sum(0) < 0.06
    for index in range(SUBJECTS):
        rng = np.random.default_rng(index)
        coarse = ndimage.zoom(
            rng.normal(300, 80, (12, 12, 8)), [n / m for n, m in zip(SHAPE, (12, 12, 8), strict=True)]
        )
        image = inside * (coarse + rng.normal(0, 30, SHAPE)) + lesion * 200
        folder = root / f"BraTS2021_{index:05d}"
        folder.mkdir(parents=True)
        for name, array in (("flair", image.clip(0).astype(np.int16)), ("seg", lesion.astype(np.uint8))):
            path = folder / f"{folder.name}_{name}.nii.gz"
            path.write_bytes(gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes(), 6))
    return [folder.name for folder in sorted(root.iterdir())]


@dataclass(frozen=True)
class Times:
    """Seconds of tasks that took turns, per task one of each round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, floor: str) -> float:
        """How many times as long as the floor: the median of the rounds, as the machine's load changes between them."""
        return statistics.median(a / b for a, b in zip(self.seconds[name], self.seconds[floor], strict=True))


def timed(tasks: Mapping[str, Callable[[], Any]]) -> Times:
    """Run the tasks in turn, for several rounds after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(ROUNDS + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return Times({name: own[1:] for name, own in seconds.items()})


def prepared(config: RunConfig, cache: Path | None = None) -> AnomalyDataModule:
    """The data module of a run, prepared; in a cache folder of its own, soon gone, without one."""
    with tempfile.TemporaryDirectory() as folder:
        data = build_module(config.dataset, cache or Path(folder), config.data, BATCH)
        data.prepare_data()
        data.setup()
        return data


def measure_preparing(config: RunConfig, cache: Path) -> None:
    """Preparing over decompressing; what MONAI needs to fill a CacheDataset with the same volumes."""
    cases = prepared(config, cache).cases
    files = [file for case in cases for file in case.files]
    tasks: dict[str, Callable[[], Any]] = {"preparing": lambda: prepared(config)}
    if packed := [file for file in files if file.name.endswith(".gz")]:
        for name, (module, decode) in DECODERS.items():
            try:
                decoder = importlib.import_module(module)
            except ImportError:
                continue
            tasks[name] = lambda decoder=decoder, decode=decode: decompress(packed, decoder, decode)
    tasks["MONAI CacheDataset"] = lambda: monai_volumes(cases)
    times = timed(tasks)
    decoders = [name for name in tasks if name in DECODERS]
    floor = min(decoders, key=times.median, default="preparing")
    for name in tasks:
        each = times.median(name) / len(cases) * 1000
        print(f"{len(cases)} subjects, {name}: {each:.0f} ms per subject, {times.ratio(name, floor):.2f} × {floor}")


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


def measure_memory(config: RunConfig) -> None:
    """The peak of anonymous memory while preparing, over what there was before, in a process of its own."""
    import data_modules.preprocess  # noqa: F401 (what is imported on the way is not the data's)

    peak, done = 0, threading.Event()

    def anonymous() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    before = anonymous()
    watcher = threading.Thread(target=watch)
    watcher.start()
    data = prepared(config)
    done.set()
    watcher.join()
    voxels = [int(np.prod(geometry["shape"])) for geometry in data.store.geometry]
    volume, workers = 4 * max(voxels), usable_cpus()
    print(
        f"peak memory while preparing: {(peak - before) / 2**20:.0f} MiB more than before, "
        f"{(peak - before) / volume / workers:.2f} volumes of {volume / 2**20:.0f} MiB per core ({workers} cores)"
    )
    print(f"  of the process in all: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def measure_slices(config: RunConfig, cache: Path) -> None:
    """Random batches from the store, and copies of the same rows of tensors in memory, by one thread each."""
    store, held = prepared(config, cache).store, prepared(config, cache).store.hold("cpu")
    everything = store.batch(np.arange(len(store)))
    tensors = [everything[name] for name in ("image", "mask", "foreground", "region_weight")]  # type: ignore[literal-required]
    stored = store._mapped.image
    for kind, rows in (("normal", np.flatnonzero(store.normal)), ("any", np.arange(len(store)))):
        draws = [np.random.default_rng(seed).choice(rows, BATCH) for seed in range(BATCHES)]
        chosen = [torch.from_numpy(draw) for draw in draws]
        tasks = {
            "store": lambda draws=draws: [store.batch(draw) for draw in draws],
            "copy": lambda chosen=chosen: [tensor.index_select(0, row) for row in chosen for tensor in tensors],
            "held": lambda draws=draws: [held.batch(draw) for draw in draws],
            "images of the store": lambda chosen=chosen: [stored.index_select(0, row).float() for row in chosen],
            "copy of images": lambda chosen=chosen: [tensors[0].index_select(0, row) for row in chosen],
        }
        with single_threaded():
            times = timed(tasks)
        speed = BATCH * BATCHES / times.median("store")
        print(
            f"{kind} slices of {'×'.join(map(str, store.shape))}: {speed:,.0f} per second from the store, "
            f"{1 / times.ratio('store', 'copy'):.2f} of a bare copy of the same slices ({1 / times.ratio('held', 'copy'):.2f} "
            f"if held in memory); images alone {1 / times.ratio('images of the store', 'copy of images'):.2f}"
        )
    monai_slices(store, np.flatnonzero(store.normal))


def monai_slices(store: SliceStore, rows: np.ndarray) -> None:
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
            }
        )
    for name in datasets:
        print(f"  MONAI {name}: {draws.size / times.median(name):,.0f} per second")


def measure_epoch(config: RunConfig, cache: Path) -> None:
    """An epoch of the default VAE on batches of the store's loader, and on rows of a tensor in memory."""
    from anomaly_bench.models import VAE

    data = prepared(config, cache)
    images = data.store.batch(data.indices["train"])["image"]
    torch.manual_seed(0)
    model, loader = VAE(data.image_shape), data.train_dataloader()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step(image: torch.Tensor) -> None:
        rec, kl = model.terms(image, sample=True)
        optimizer.zero_grad()
        (rec + kl).mean().backward()
        optimizer.step()

    def from_store() -> None:
        for batch in loader:
            step(batch["image"])

    def from_memory() -> None:
        for rows in torch.randperm(len(images)).split(BATCH)[: len(loader)]:
            step(images.index_select(0, rows))

    times = timed({"store": from_store, "memory": from_memory, "loading": lambda: [None for _ in loader]})
    print(
        f"a training epoch of {len(loader)} steps: {times.median('store'):.2f} s from the store, "
        f"{times.ratio('store', 'memory'):.3f} of that from memory; loading alone takes "
        f"{times.ratio('loading', 'store'):.2%} of it"
    )


def main() -> None:
    """All measurements in turn, on the overrides' dataset or on volumes that are made up."""
    with tempfile.TemporaryDirectory() as folder:
        overrides, cache = sys.argv[1:], Path(folder) / "cache"
        if not overrides:
            names = write_cohort(Path(folder) / "brats")
            splits = {"train": names[:-3], "val": names[-3:-2], "test": names[-2:]}
            overrides = ["dataset=brats", f"dataset.root={folder}/brats"]
            overrides += [f"dataset.split.{split}_subjects=[{','.join(own)}]" for split, own in splits.items()]
        measure_preparing(load_config(overrides), cache)
        subprocess.run([sys.executable, __file__, "memory", *overrides], check=True)
        measure_slices(load_config(overrides), cache)
        measure_slices(load_config([*overrides, "dataset.size=[240,240]"]), cache)
        measure_epoch(load_config(overrides), cache)


if __name__ == "__main__":
    measure_memory(load_config(sys.argv[2:])) if sys.argv[1:2] == ["memory"] else main()
