"""Two tables of the docs, from folders of runs: settings and ways of ensembles, compared seed by seed.

By hand, on the folders of the commands that stand above the tables: `python benchmarks/studies/paired.py sigma FOLDER`
(docs/models.md) and `python benchmarks/studies/paired.py ways FOLDER` (docs/predictors.md). Differences are of the same seeds,
with 95 % of Student's t over them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from leaderboard.record import RESULT_FILE, RunResult, read_result

MEMBERS = ("rec_l1", "rec_ssim", "grad_elbo", "combination", "projection")
WAYS = ("probit", "tail", "mean", "product", "max")
Row = NDArray[np.float64]


def difference(one: Row, other: Row, digits: int) -> str:
    """The mean of one minus the other, and its interval."""
    change = one - other
    reach = t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / len(change) ** 0.5
    low, high = change.mean() - reach, change.mean() + reach
    return f"{change.mean():+,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def by_dataset(folder: Path) -> dict[str, list[RunResult]]:
    """The results, in the order of their seeds."""
    found = defaultdict(list)
    for path in sorted(folder.glob(f"*/{RESULT_FILE}")):
        found[(result := read_result(path)).dataset].append(result)
    return {dataset: sorted(found[dataset], key=lambda one: one.seed) for dataset in sorted(found)}


def reached(results: Sequence[RunResult], row: str, metric: str) -> Row:
    """A row's metric on test, by run."""
    return np.array([result.predictors[row].test[metric].value for result in results], dtype=float)


def sigma(folder: Path) -> None:
    print(
        "| dataset | optimal sigma | ELBO: fixed (0.1) → optimal | difference | AP | difference | pixel AUROC | difference |"
    )
    print("|---" * 8 + "|")
    for dataset, results in by_dataset(folder).items():
        kinds = [[one for one in results if one.config["model"]["variance"] == kind] for kind in ("fixed", "optimal")]
        scale = [float(one.training["sigma"] or 0.0) for one in kinds[1]]
        cells = [f"{min(scale):.3f}–{max(scale):.3f}"]
        elbos = [np.array([one.training["best_elbo"] for one in kind], dtype=float) for kind in kinds]
        metrics = [[reached(kind, "rec_l1", metric) for kind in kinds] for metric in ("ap", "auroc")]
        for (fixed, optimal), digits in ((elbos, 0), *((metric, 3) for metric in metrics)):
            cells += [f"{fixed.mean():,.{digits}f} → {optimal.mean():,.{digits}f}", difference(optimal, fixed, digits)]
        print(f"| {dataset} | {' | '.join(cells)} |")


def ways(folder: Path) -> None:
    joint = [f"ensemble_{way}" for way in WAYS]
    print(f"| AP on test | {' | '.join((*MEMBERS, *WAYS))} |")
    print("|---" * (1 + len(MEMBERS) + len(WAYS)) + "|")
    values = {
        dataset: {row: reached(results, row, "ap") for row in (*MEMBERS, *joint)}
        for dataset, results in by_dataset(folder).items()
    }
    for dataset, rows in values.items():
        print(f"| {dataset} | {' | '.join(f'{row.mean():.3f}' for row in rows.values())} |")
    print("\n| probit minus | tail | mean | max | its best member, in hindsight |")
    print("|---" * 5 + "|")
    for dataset, rows in values.items():
        best = max(MEMBERS, key=lambda row: float(rows[row].mean()))
        others = [difference(rows[joint[0]], rows[f"ensemble_{way}"], 3) for way in ("tail", "mean", "max")]
        print(f"| {dataset} | {' | '.join(others)} | `{best}` {difference(rows[joint[0]], rows[best], 3)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=("sigma", "ways"))
    parser.add_argument("folder", type=Path, help="of the runs")
    options = parser.parse_args()
    {"sigma": sigma, "ways": ways}[options.table](options.folder)


if __name__ == "__main__":
    main()
