"""What a finding says, in a sentence for a reader who has not seen it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from leaderboard.amounts import amount
from leaderboard.results.run_arrays import RunArrays
from leaderboard.verdicts.claim import Finding

from .texts import COLUMNS, number, plain, signed

BY_PARTS = ("projection", "kl-gradient-dataset")  # told by what each dataset says
METRIC_FREE = ("surroundings",)  # about no metric
NOISELESS = "noise over seeds subtracted"


def domains_of(runs: Sequence[RunArrays]) -> dict[str, str]:
    """medical, natural or "", by the names that parts of findings have: of datasets and of benchmarks."""
    found: dict[str, str] = {}
    for run in runs:
        found |= {run.dataset: run.domain, run.family: run.domain}
    return found


def meant(finding: Finding) -> str:
    """What the effect is, and by which metric."""
    by = "" if finding.name in METRIC_FREE else f"; by {COLUMNS.get(finding.metric, finding.metric)}"
    return f"{finding.meaning}{by}"


def sentence(finding: Finding, domains: Mapping[str, str]) -> str:
    """What the finding says, with its size and how many datasets agree."""
    known = {name: part.value for name, part in finding.parts.items() if part.value is not None}
    if not known or (finding.effect.value is None and finding.name not in BY_PARTS):
        return f"Nothing can be said: {finding.effect.why or 'no dataset has the runs that it is about'}."
    unit, value = COLUMNS.get(finding.metric, finding.metric), finding.effect.value or 0.0
    sure = sum(part.low is not None and part.low > 0 for part in finding.parts.values())
    more = sum(each > 0 for each in known.values())
    agree = f"on {more} of {amount(len(known), 'datasets')} ({sure} with an interval above 0)"
    pairs = ""
    if finding.metric == "auroc" and finding.effect.value is not None:
        share = f"{100 * abs(value):.1f} of 100 pairs of an anomalous and a normal pixel in the right order"
        pairs = f" {abs(value):.3f} is {share}."
    match finding.name:
        case "projection":
            changes = [
                f"{signed(sum(values) / len(values))} on {domain}"
                for domain in ("natural", "medical")
                if (values := [each for name, each in known.items() if domains.get(name) == domain])
            ]
            return f"Projection changes {unit} by {' and '.join(changes)} datasets (means); it gains {agree}.{pairs}"
        case "kl-gradient-dataset":
            goes = "goes " if len({number(each, 2) for each in known.values()}) > 1 else "is "
            spread = f"; {NOISELESS}, its standard deviation over datasets is {value:.3f}" if finding.effect.n else ""
            return (
                f"The KL gradient's place by {unit}, 0 being the first and 1 the last, {goes}{_ends(known, 2)}{spread}."
            )
        case "kl-gradient-setting":
            return (
                f"The KL gradient's place by {unit} has a standard deviation of {value:.2f} over a dataset's settings, "
                f"{NOISELESS}: {_ends(known, 2)}."
            )
        case "beta":
            return (
                f"{unit[0].upper()}{unit[1:]} of the predictor that validation chooses has a standard deviation of "
                f"{value:.3f} over the betas, {NOISELESS}: {_ends(known, 3)}.{pairs}"
            )
        case "ensemble":
            return f"The ensemble changes {unit} by {signed(value)} (mean) from that of the member; it gains {agree}.{pairs}"
        case "surroundings":
            higher = "higher" if value > 0 else "lower"
            return (
                f"The error of normal pixels beside an anomaly is {100 * abs(math.expm1(value)):.0f} % {higher} than that of "
                f"normal pixels far from any (mean); it is higher {agree}."
            )
        case _:
            turned = {name: -each for name, each in known.items()}
            return (
                f"Better reconstruction and {unit} of its error have a rank correlation of {number(-value, 2)} (mean), "
                f"{_ends(turned, 2)}."
            )


def _ends(known: Mapping[str, float], decimals: int) -> str:
    least, most = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    low, high = number(known[least], decimals), number(known[most], decimals)
    if len(known) == 1:
        return f"{low} on {plain(least)}"
    return f"{low} on every dataset" if low == high else f"from {low} ({plain(least)}) to {high} ({plain(most)})"
