"""Localization metrics beside those of other packages: seconds, ratios to ours and peak extra memory, in one run.

Run it by hand: `python benchmarks/metrics.py 1e6 1e7 1e8`. Contenders that are not installed are left out; they are no
part of the product: `pip install --target peers --no-deps adeval==1.1.0 pyaupro opencv-python-headless`, then
`python benchmarks/metrics.py --peers peers 1e7`. Every contender has a process of its own, that holds the maps (256×256
pixels, 2 % anomalous) and is warm before the clock starts. It takes turns there with a bare read of the maps, whose time
is the measure of all ratios: the medians of --repeats rounds count.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from timing import goal, keep_memory

SIDE, WARM = 256, 270  # images of the warm-up: enough work to load what is loaded only for much
METRICS = ("auroc", "ap", "dice", "aupro")
Maps = Any
Values = dict[str, float]
OURS, READS, PEER, TIMES = "ours", 3.0, "adeval", 10.0


def make_maps(pixels: int, folder: Path) -> None:
    """Write scores (N, 256, 256) float32 in (0, 1) and mask bool: a disc in every third image, 2 % of all pixels."""
    count = max(pixels // SIDE**2, 1)
    rng, rows = np.random.default_rng(0), np.indices((SIDE, SIDE))
    scores = np.lib.format.open_memmap(folder / "scores.npy", "w+", np.float32, (count, SIDE, SIDE))
    masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", bool, (count, SIDE, SIDE))
    for at in range(count):
        middle = rng.integers(50, SIDE - 50, size=(2, 1, 1))
        mask = ((rows - middle) ** 2).sum(0) < 35.4**2 if at % 3 == 0 else np.zeros((SIDE, SIDE), dtype=bool)
        raw = rng.standard_normal((SIDE, SIDE), dtype=np.float32) + np.float32(1.5) * mask
        scores[at], masks[at] = 1 / (1 + np.exp(-raw)), mask


def ours(scores: Maps, mask: Maps, batch: int = 0, exact: bool = False, device: str = "cpu") -> Values:
    from anomaly_bench.metrics import ExactCurve, LocalizationCurve

    curve = (ExactCurve() if exact else LocalizationCurve()).to(device)
    for start in range(0, len(scores), batch or len(scores)):
        part = slice(start, start + (batch or len(scores)))
        curve.update(scores[part], mask[part])
    values = curve.compute()
    names = {"auroc": "auroc", "ap": "ap", "dice": "dice_oracle", "aupro": "aupro"}
    return {name: values[key].value for name, key in names.items() if values[key] is not None}


def ours_without_numba(scores: Maps, mask: Maps) -> Values:
    sys.modules["numba"] = None  # type: ignore[assignment]
    return ours(scores, mask)


def adeval(scores: Maps, mask: Maps) -> Values:
    if not hasattr(np, "trapz"):
        vars(np)["trapz"] = np.trapezoid  # numpy 2.4 has dropped the name that adeval 1.1.0 uses
    import adeval as package

    auroc, ap, aupro = package.auroc_aupr_aupro(scores, mask.view(np.uint8))
    return {"auroc": auroc, "ap": ap, "aupro": aupro}  # its accumulator holds what Dice needs: no further time


def scikit_learn(scores: Maps, mask: Maps) -> Values:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    labels, values = mask.ravel(), scores.ravel()
    precision, recall, _ = precision_recall_curve(labels, values)
    dice = (2 * precision * recall / np.maximum(precision + recall, 1e-30)).max()
    return {"auroc": roc_auc_score(labels, values), "ap": average_precision_score(labels, values), "dice": dice}


def torchmetrics(scores: Maps, mask: Maps, thresholds: int | None = None) -> Values:
    from torchmetrics.functional.classification import (
        binary_auroc,
        binary_average_precision,
        binary_precision_recall_curve,
    )

    values, labels = scores.flatten(), mask.flatten().int()
    precision, recall, _ = binary_precision_recall_curve(values, labels, thresholds)
    dice = (2 * precision * recall / (precision + recall).clamp(min=1e-30)).nan_to_num().max()
    area, ap = (f(values, labels, thresholds=thresholds) for f in (binary_auroc, binary_average_precision))
    return {"auroc": float(area), "ap": float(ap), "dice": float(dice)}


def pyaupro(scores: Maps, mask: Maps, thresholds: int | None = None) -> Values:
    from pyaupro import PerRegionOverlap, auc_compute

    metric = PerRegionOverlap(thresholds=thresholds)
    metric.update(scores, mask.int())
    fpr, overlap = metric.compute()
    return {"aupro": float(auc_compute(fpr, overlap, limit=0.3, reorder=True))}


def bare_read(scores: Maps, mask: Maps) -> float:
    """Seconds of the least that counting could cost: every score and every pixel of the masks looked at once."""
    start = time.perf_counter()
    float(scores.sum()), int(mask.count_nonzero())
    return time.perf_counter() - start


Contender = tuple[Callable[..., Values], str]
CONTENDERS: dict[str, Contender] = {
    OURS: (ours, "torch"),
    "ours, batches of 32": (partial(ours, batch=32), "torch"),
    "ours, without numba": (ours_without_numba, "torch"),
    "ours, exact": (partial(ours, exact=True), "torch"),
    "ours, on the GPU": (partial(ours, device="cuda"), "cuda"),
    PEER: (adeval, "numpy"),
    "scikit-learn": (scikit_learn, "numpy"),
    "torchmetrics, exact": (torchmetrics, "torch"),
    "torchmetrics, 200 thresholds": (partial(torchmetrics, thresholds=200), "torch"),
    "torchmetrics, exact, on the GPU": (torchmetrics, "cuda"),
    "pyaupro, exact": (pyaupro, "torch"),
    "pyaupro, 100 thresholds": (partial(pyaupro, thresholds=100), "torch"),
}


def measure(name: str, folder: Path, repeats: int) -> None:
    """Print the contender's seconds, those of a bare read, extra megabytes, warm-up seconds and values as JSON."""
    import torch

    run, kind = CONTENDERS[name]
    maps: list[Any] = [np.load(folder / f"{part}.npy") for part in ("scores", "masks")]
    tensors = [torch.from_numpy(part).to("cuda" if kind == "cuda" else "cpu") for part in maps]
    if kind != "numpy":
        maps = tensors
    start = time.perf_counter()
    run(*(part[:1] for part in maps))
    if name.startswith("ours"):
        run(*(torch.cat([part[:1]] * WARM) for part in maps))
    warm, before = time.perf_counter() - start, reset_peak()
    values = run(*maps)
    extra = peak() - before
    keep_memory()
    bare_read(*tensors)
    seconds, reads = list[float](), list[float]()
    for _ in range(repeats):
        gc.collect()  # metrics refer to themselves: the histograms of the round before would stay in memory
        reads.append(bare_read(*tensors))
        start = time.perf_counter()
        run(*maps)
        if kind == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    found = {"seconds": median(seconds), "read": median(reads), "extra": extra, "warm": warm, "values": values}
    print(json.dumps(found))


def status(key: str) -> float:
    """A memory figure of this process in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return float("nan")


def reset_peak() -> float:
    """Forget the peak of resident memory; the memory in use now, in megabytes. NaN where there is no /proc."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def peak() -> float:
    return status("VmHWM")


def timed(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any] | str:
    """What `measure` prints in a fresh process, or why it printed nothing."""
    path = os.pathsep.join(
        filter(None, [str(Path(__file__).parent.parent), options.peers, os.environ.get("PYTHONPATH")])
    )
    command = [sys.executable, __file__, "--measure", name, "--folder", str(folder), "--repeats", str(options.repeats)]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=options.limit, check=False
        )
    except subprocess.TimeoutExpired:
        return f"more than {options.limit:.0f} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        missing = {"ModuleNotFoundError": "not installed", "not compiled with CUDA": "no GPU", "NVIDIA": "no GPU"}
        return next((text for sign, text in missing.items() if sign in last), last[:80])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def table(pixels: int, options: argparse.Namespace) -> None:
    """Print one Markdown table: every contender on that many pixels, in turn."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        make_maps(pixels, Path(folder))
        print(f"\n{pixels:.0e} pixels, {os.cpu_count()} cores\n", flush=True)
        print("| | seconds | bare reads | extra MB | AUROC | AP | Dice | AUPRO |\n|---|--:|--:|--:|--:|--:|--:|--:|")
        ratios = dict[str, float]()
        for name in options.only or CONTENDERS:
            found = timed(name, Path(folder), options)
            if isinstance(found, str):
                print(f"| {name} | {found} | | | | | | |", flush=True)
                continue
            ratios[name] = found["seconds"] / found["read"]
            values = " | ".join(f"{found['values'][key]:.5f}" if key in found["values"] else "" for key in METRICS)
            cells = f"{found['seconds']:.3f} | {ratios[name]:.3g} | {found['extra']:.0f} | {values}"
            print(f"| {name} | {cells} |", flush=True)
    if OURS in ratios:
        goal(f"{pixels:.0e} pixels: all metrics over a bare read", ratios[OURS], READS)
    if {OURS, PEER} <= set(ratios):
        goal(f"{pixels:.0e} pixels: {PEER} over all metrics", ratios[PEER] / ratios[OURS], TIMES, least=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pixels", nargs="*", type=float, default=[1e6, 1e7], help="how many, e.g. 1e6 1e7 1e8")
    parser.add_argument("--peers", default="", help="the folder that other packages were installed into")
    parser.add_argument("--only", action="append", choices=list(CONTENDERS), help="which contenders")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=600, help="seconds for a contender, with loading and repeats")
    parser.add_argument("--scratch", type=Path, help="folder for the maps: 5 bytes per pixel")
    parser.add_argument("--measure", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.folder, options.repeats)
        return
    for pixels in options.pixels:
        table(int(pixels), options)


if __name__ == "__main__":
    main()
