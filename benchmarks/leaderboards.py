"""How long a leaderboard of many runs takes, as ratios to its goals: reading, aggregating, the whole board, memory, its page.

    python benchmarks/leaderboards.py --runs 10000 --predictors 20
    python benchmarks/leaderboards.py --read FOLDER

Writes made-up results with a known structure (a level per predictor and dataset, an optimum of beta, noise per seed and per
subject) to a temporary folder, or with --out to a folder to look at with `anomaly-bench leaderboard`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard.record import METRICS, PIXELS, POOLED

NAMES = (
    *(
        "rec_l1",
        "rec_l2",
        "rec_ssim",
        "grad_rec",
        "grad_kl",
        "grad_elbo",
        "combination",
        "projection",
        "ensemble_probit",
    ),
    *("intensity", "rec_l1_smooth", "rec_l2_smooth", "restoration", "smoothgrad", "latent_variance", "local_contrast"),
    *("kl_map", "projection_l2", "projection_fast", "ensemble_max"),
)
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
SEEDS = 10


def measure(value: float) -> dict[str, float]:
    """A metric's value with bounds around it."""
    return {"value": value, "low": value, "high": value, "ci_low": value - 0.02, "ci_high": value + 0.02}


def predictor(level: float, seconds: float, subjects: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    """One predictor's measures around a level, each subject's around its own."""
    test = {name: measure(float(np.clip(level + 0.01 * random.normal(), 0, 1))) for name in METRICS}
    values = np.clip(level + subjects + 0.03 * random.normal(size=(2, len(subjects))), 0, 1).tolist()
    rows = [
        {"subject": f"p{at:03d}", "images": 30, "pixels": 4000, "anomalous_pixels": 90, "dice": dice, "ap": ap}
        for at, (dice, ap) in enumerate(zip(*values, strict=True))
    ]
    lesions = [{"smallest": 1, "largest": 10, "lesions": 20, "detected": int(20 * level**2)},
               {"smallest": 11, "largest": None, "lesions": 9, "detected": int(9 * level)}]  # fmt: skip
    return {
        "test": test,
        "validation": {name: measure(float(np.clip(level + 0.01 * random.normal(), 0, 1))) for name in METRICS},
        "subjects": rows,
        "without": {metric: (level + subjects / 100 / len(subjects)).round(9).tolist() for metric in POOLED},
        "groups": {"sex": {sex: {"auroc": measure(level), "ap": measure(level / 2)} for sex in ("f", "m")}},
        "lesions": lesions,
        "seconds_per_image": seconds * float(1 + 0.1 * random.random()),
    }


def result(index: int, names: list[str], subjects: int) -> dict[str, Any]:
    """The made-up result of one run: seed fastest, then beta, then dataset, then model."""
    seed, beta, rest = index % SEEDS, BETAS[index // SEEDS % len(BETAS)], index // (SEEDS * len(BETAS))
    dataset, model = rest % 10, f"vae{rest // 10}"
    random = np.random.default_rng(index)
    spread = np.random.default_rng(dataset).normal(0, 0.08, subjects)
    levels = np.random.default_rng(99).uniform(0.55, 0.85, len(names)) + np.random.default_rng(dataset).normal(
        0, 0.03, len(names)
    )
    level = levels - 0.004 * (np.log2(beta) - dataset % 4) ** 2 + 0.008 * random.normal()
    domain = "medical" if dataset % 2 else "natural"
    setting = f"{model}-{dataset}-{beta:g}"
    config = {
        "dataset": {"name": f"data{dataset}", "domain": domain, "size": [64, 64], "split": {"val": 0.15, "test": 0.3}},
        "model": {"name": model, "beta": beta, "latent": 64, "sigma": 0.1, "channels": [16, 32, 64, 64]},
        "predictors": {
            "members": {"ensemble_probit": {"use": "ensemble", "members": ["rec_l1", "grad_kl", "projection"]}}
        },
        "trainer": {"max_epochs": 30, "patience": 10, "batch_size": 32, "precision": "32-true"},
    }
    provenance = {
        "created": "2026-01-02T03:04:05+00:00", "versions": {"torch": "2.8"}, "git_revision": None, "source_digest": "s",
        "device": "cpu", "threads": 2, "data_fingerprint": f"d{dataset}", "split_digest": "p", "durations": {"fit": 1.5},
    }  # fmt: skip
    return {
        "schema_version": 1, "run_id": f"{setting}-{seed}", "setting_id": setting, "dataset": f"data{dataset}", "model": model,
        "beta": beta, "beta_normalised": beta / 64, "seed": seed, "config": config, "provenance": provenance,
        "training": {"epochs": 30, "last_rec": float(100 + 10 * beta + random.normal())}, "pixels": PIXELS,
        "predictors": {
            name: predictor(float(np.clip(level[at], 0, 1)), 0.001 * 1.4 ** (7 * at % 11), spread, random)
            for at, name in enumerate(names)
        },
    }  # fmt: skip


GOALS = {
    "read and aggregated": (10.0, "s"),
    "peak memory, helpers included": (1000.0, "MB"),
    "page": (10.0, "MB"),
    "page opened in Chromium": (2.0, "s"),
}


def write(root: Path, runs: int, names: list[str], subjects: int) -> None:
    """Made-up results of many runs, a folder each."""
    for index in range(runs):
        document = result(index, names, subjects)
        folder = root / document["run_id"]
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(document, indent=1))


def measure_folder(root: Path) -> None:
    """Read, aggregate, build the board and its page, and say what each took."""
    from leaderboard.board import build
    from leaderboard.report import html_report
    from leaderboard.results.collect import HELPERS, collect
    from leaderboard.rows.aggregate import aggregate  # here, as in the commands: helpers import what this file imports

    marks = [(time.perf_counter(), time.process_time())]

    def took(what: str) -> float:
        marks.append((time.perf_counter(), time.process_time()))
        wall, own = (after - before for before, after in zip(*marks[-2:], strict=True))
        print(f"{what}: {wall:.1f} s (processor time {own:.1f} s)")
        return wall

    collection = collect(root)
    read = took(f"read {len(collection.results)} runs")
    own, helper = (memory(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    helpers = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"helpers: processor time {helpers.ru_utime + helpers.ru_stime:.1f} s, {helper:.0f} MB the largest")
    reading = own + helper * min(os.cpu_count() or 1, HELPERS)
    aggregated = took(f"aggregated {len(aggregate(collection))} rows")
    board = build(collection)
    built = took("board (aggregates again)")
    found = {"read and aggregated": read + aggregated}
    found["peak memory, helpers included"] = max(reading, memory(resource.RUSAGE_SELF))
    page = html_report(board).encode()
    took("page written")
    found["page"] = len(page) / 1e6
    found["page opened in Chromium"] = opened(page)
    for name, value in found.items():
        goal, unit = GOALS[name]
        print(f"{name}: {value:.1f} {unit}, {value / goal:.2f} of the goal of {goal:g} {unit}")
    print(f"read and board: {read + built:.1f} s")


def opened(page: bytes) -> float:
    """Seconds until a browser has loaded a page from disk, run its scripts and drawn the first table; the median of three."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
    from browser import chromium, show

    drawn = "return document.querySelectorAll('#front tbody tr').length"
    taken = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "report.html"
        path.write_bytes(page)
        for browser in chromium():
            for _ in range(3):
                started = time.perf_counter()
                show(browser, path)
                while not browser.execute_script(drawn):
                    time.sleep(0.01)
                taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def memory(who: int) -> float:
    """Peak memory in MB of this process, or of its largest helper so far."""
    return resource.getrusage(who).ru_maxrss / 1024


def main() -> None:
    """Write and measure, or measure what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--predictors", type=int, default=20)
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--out", type=Path, help="write the results here and keep them")
    parser.add_argument("--read", type=Path, help="measure the results in this folder")
    options = parser.parse_args()
    if options.read:
        measure_folder(options.read)
        return
    names = [*NAMES, *(f"predictor{at}" for at in range(len(NAMES), options.predictors))][: options.predictors]
    with tempfile.TemporaryDirectory() as scratch:
        root = options.out or Path(scratch)
        write(root, options.runs, names, options.subjects)
        size = sum(path.stat().st_size for path in root.rglob("result.json"))
        print(f"{options.runs} runs, {options.predictors} predictors, {options.subjects} subjects, {size / 1e6:.0f} MB")
        measure_folder(root)


if __name__ == "__main__":
    main()
