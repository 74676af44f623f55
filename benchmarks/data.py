"""How quick the data wing is, as ratios to what it cannot beat, each pair measured side by side in one run.

Run it by hand: `python benchmarks/data.py`, on volumes made up after BraTS (240×240×155; 2 MB of FLAIR and a label),
or with a dataset's overrides on real ones: `python benchmarks/data.py dataset=open_ms data_dir=FOLDER`. All of its parts
take a quarter of an hour on two idle cores; `--only epoch,slices` chooses some, `--rounds 3` is quicker and less sure.

- prepare: preparing a cohort, over decompressing the same files on all cores with each decoder there is; its steps;
- memory: what preparing takes, in volumes (all modalities of a subject as float32) per core: of one modality, of one and of
  four at another spacing, and of four;
- slices: random slices from the store, over a bare copy of the same slices within memory;
- epoch: a training epoch from the store, over the same epoch on tensors in memory;
- monai: MONAI's CacheDataset and PersistentDataset beside prepare and slices.

Each ratio is the median of the rounds, with their range; after it, what the project wants of it, and whether it is met.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from isal import isal_zlib
from timing import ROUNDS, goal, keep_memory, timed

from anomaly_bench.config.load import load_config
from anomaly_bench.config.schema import RunConfig
from data_modules.base.digests import usable_cpus
from data_modules.modules.base import AnomalyDataModule
from data_modules.modules.build import build_module
from data_modules.modules.nifti import NiftiDataModule
from data_modules.store.build import single_threaded
from data_modules.store.format import encode
from data_modules.store.store import SliceStore
from data_modules.transforms.brain import ScanTransform
from data_modules.transforms.resample import resampled
from data_modules.transforms.slicing import Grid, Slicing, cut

SUBJECTS, SHAPE = 10, (240, 240, 155)
FOUR = ["dataset.modality=[flair,t1,t1ce,t2]"]
SPACING = ["dataset.preprocess.spacing={use: Spacingd, pixdim: [1.5,1.5,1.5]}"]
BATCH, BATCHES = 32, 50
DECODERS = {
    "isal": ("isal.isal_zlib", lambda module, data: module.decompress(data, wbits=31)),
    "zlib-ng": ("zlib_ng.zlib_ng", lambda module, data: module.decompress(data, wbits=31)),
    "libdeflate": ("deflate", lambda module, data: module.gzip_decompress(data)),
    "zlib": ("zlib", lambda module, data: module.decompress(data, wbits=31)),
}
DECOMPRESS = "decompressing alone"
MEMORY = "measure-memory"  # the argument by which it calls itself, for a process that has done nothing else
PARTS = ("prepare", "memory", "slices", "epoch", "monai")


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
        for names, array in (
            (("flair", "t1", "t1ce", "t2"), image.clip(0).astype(np.int16)),
            (("seg",), lesion.astype(np.uint8)),
        ):
            packed = gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes(), 6)
            for name in names:
                (folder / f"{folder.name}_{name}.nii.gz").write_bytes(packed)
    return [folder.name for folder in sorted(root.iterdir())]


def prepared(config: RunConfig, cache: Path | None = None) -> AnomalyDataModule:
    """The data module of a run, prepared; in a cache folder of its own, soon gone, without one."""
    with tempfile.TemporaryDirectory() as folder:
        data = build_module(config.dataset, cache or Path(folder), config.data, BATCH)
        data.prepare_data()
        data.setup()
        return data


def measure_preparing(config: RunConfig, cache: Path, rounds: int, monai: bool) -> None:
    """Preparing over decompressing, and what MONAI needs to fill a CacheDataset with the same volumes."""
    data = prepared(config, cache)
    cases = data.cases
    files = [file for case in cases for file in case.files]
    tasks: dict[str, Callable[[], Any]] = {"preparing": lambda: prepared(config)}
    if packed := [file for file in files if file.name.endswith(".gz")]:
        for name, (module, decode) in DECODERS.items():
            try:
                decoder = importlib.import_module(module)
            except ImportError as error:
                print(f"{name}: left out ({error})")
                continue
            tasks[name] = lambda decoder=decoder, decode=decode: decompress(packed, decoder, decode)
    if monai:
        tasks["MONAI CacheDataset"] = lambda: monai_volumes(cases)
    times = timed(tasks, rounds)
    decoders = [name for name in tasks if name in DECODERS]
    for name in tasks:
        print(f"{len(cases)} subjects, {name}: {times.median(name) / len(cases) * 1000:.0f} ms per subject")
    for name in decoders:
        print(f"  preparing is {times.shown('preparing', name)} × {name}")
    if decoders:
        goal("preparing over decompressing", times.ratio("preparing", min(decoders, key=times.median)), 1.3)
        if isinstance(data, NiftiDataModule) and len(packed) == len(files):
            print_steps(data, rounds)


def decompress(files: Sequence[Path], module: Any, decode: Callable[[Any, bytes], bytes]) -> None:
    """Decompress the files on all cores, and keep nothing."""

    def one(file: Path) -> int:
        return len(decode(module, file.read_bytes()))

    with ThreadPoolExecutor(usable_cpus()) as pool:
        list(pool.map(one, files))


def print_steps(data: NiftiDataModule, rounds: int) -> None:
    """Where preparing spends its time: the median over subjects and rounds of each step, in milliseconds of one thread.

    Reading includes decompressing.
    """
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
            step(DECOMPRESS, _each, lambda packed: isal_zlib.decompress(packed, 31), case.files)
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
    import nibabel as nib

    import data_modules.transforms.preprocess  # noqa: F401 (what is imported on the way is not the data's)

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
    voxels = [int(np.prod(nib.load(case.files[0]).shape[:3])) for case in data.cases]  # as read, not as resampled
    volume, workers = 4 * max(voxels) * data.image_shape[0], usable_cpus()
    each = (peak - before) / volume / workers
    print(
        f"peak memory while preparing {data.image_shape[0]} modalities{' at another spacing' * _resamples(config)}: "
        f"{(peak - before) / 2**20:.0f} MiB more than before, {each:.2f} volumes of {volume / 2**20:.0f} MiB per core "
        f"({workers} cores)"
    )
    goal("volumes per core", each, 2)
    print(f"  of the process in all: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _resamples(config: RunConfig) -> bool:
    return bool(getattr(config.dataset, "preprocess", {}).get("spacing"))


def measure_slices(config: RunConfig, cache: Path, rounds: int, monai: bool) -> None:
    """Random batches from the store, and copies of the same rows of tensors in memory: CPU time of one thread."""
    keep_memory()
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
            times = timed(tasks, rounds, time.thread_time)
        speed = BATCH * BATCHES / times.median("store")
        print(
            f"{kind} slices of {'×'.join(map(str, store.shape))}: {speed:,.0f} per second from the store, "
            f"{times.shown('copy', 'store')} of a bare copy of the same slices, {times.shown('copy', 'held')} if held in "
            f"memory; images alone {times.shown('copy of images', 'images of the store')}"
        )
        goal("of a bare copy", times.ratio("copy", "store"), 0.8, least=True)
    if monai:
        monai_slices(store, np.flatnonzero(store.normal), rounds)


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


def measure_epoch(config: RunConfig, cache: Path, rounds: int) -> None:
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

    times = timed({"store": from_store, "memory": from_memory, "loading": lambda: [None for _ in loader]}, rounds)
    print(
        f"a training epoch of {len(loader)} steps: {times.median('store'):.2f} s from the store, "
        f"{times.shown('store', 'memory', 3)} of that from memory; loading alone takes "
        f"{times.ratio('loading', 'store'):.2%} of it"
    )
    goal("an epoch over one from memory", times.ratio("store", "memory"), 1.05)


def main() -> None:
    """The chosen measurements in turn, on the overrides' dataset or on volumes that are made up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help="some of %(default)s")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is timed (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="a dataset with its keys")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(PARTS)}")
    with tempfile.TemporaryDirectory() as folder:
        overrides, cache = options.overrides, Path(folder) / "cache"
        if not overrides:
            names = write_cohort(Path(folder) / "brats")
            splits = {"train": names[:-3], "val": names[-3:-2], "test": names[-2:]}
            overrides = ["dataset=brats", f"dataset.root={folder}/brats"]
            overrides += [f"dataset.split.{split}_subjects=[{','.join(own)}]" for split, own in splits.items()]
        config, monai = load_config(overrides), "monai" in parts
        if "prepare" in parts:
            measure_preparing(config, cache, options.rounds, monai)
        if "memory" in parts:
            for more in [[], SPACING, FOUR, [*FOUR, *SPACING]] if not options.overrides else [[]]:
                subprocess.run([sys.executable, __file__, MEMORY, *overrides, *more], check=True)
        if "slices" in parts:
            measure_slices(config, cache, options.rounds, monai)
            measure_slices(load_config([*overrides, "dataset.size=[240,240]"]), cache, options.rounds, monai)
        if "epoch" in parts:
            measure_epoch(config, cache, options.rounds)


if __name__ == "__main__":
    measure_memory(load_config(sys.argv[2:])) if sys.argv[1:2] == [MEMORY] else main()
