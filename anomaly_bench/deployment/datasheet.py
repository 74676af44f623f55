"""What a reader of an exported file has to know to use it without this package."""

from __future__ import annotations

import inspect
import math
from importlib.metadata import version
from typing import Any

from anomaly_bench.config.schema import RunConfig
from anomaly_bench.localization.validation.learned import Learned
from anomaly_bench.metrics.bins import bin_lower_edge
from anomaly_bench.predictors.rules.one_pass import Reconstruction
from data_modules.base.config import DatasetConfig, NiftiConfig, PictureConfig
from data_modules.cases.cohorts import modalities
from data_modules.transforms.brain import ScaleInBraind
from data_modules.transforms.steps import OURS
from leaderboard.record import RunResult

FORMAT = 1
ROW = "rec_l1"
RESIZE = "resized to the size: torch.nn.functional.interpolate(image, size=size, mode='bilinear', antialias=True)"
VIEWS = {
    "axial": "one slice per step from feet to head, its rows from front to back, its columns from left to right",
    "coronal": "one slice per step from back to front, its rows from top to bottom, its columns from left to right",
    "sagittal": "one slice per step from left to right, its rows from top to bottom, its columns from back to front",
}


def data_sheet(
    result: RunResult, config: RunConfig, row: Reconstruction | None, why_not: str | None, learned: Learned | None
) -> dict[str, Any]:
    """The data sheet of a run's exported model, as JSON can hold it.

    channels: their names in order; context: which slices they are of, where several are seen; depth: how many slices a volume
    has, None of images; size: [H, W]; range: the least
    and the greatest value of an image, None if it is not known; preprocessing: the steps from a file to `image`, in order;
    threshold: the least value of the output rec_l1 that is called anomalous, None where the run has set none; threshold_fpr:
    the share of normal validation pixels that may reach it; foreground: which pixels count.
    row, why_not: what the output rec_l1 is (see `exportable_row`); learned: where the threshold is, if there is one.
    """
    dataset = config.dataset
    axes = "depth, rows, columns" if dataset.depth else "rows, columns"
    smooth, pooled = (row.smooth or 0.0, row.min_pool) if row else (0.0, 0)
    around = [f"smoothed with a Gaussian of {smooth:g} pixels, cut off at 3 of them, edges repeated"] if smooth else []
    around += [f"then the least score of the {pooled} × {pooled} pixels around"] if pooled else []
    return {
        "format": FORMAT,
        "anomaly_bench": version("anomaly-bench"),
        "run_id": result.run_id,
        "dataset": result.dataset,
        "model": result.model,
        "beta": result.beta,
        "seed": result.seed,
        "input": f"image (batch, channels, {axes}) float32",
        "channels": channels_of(dataset),
        "context": context_of(dataset),
        "depth": dataset.depth,
        "size": [int(side) for side in dataset.size],
        "range": range_of(dataset),
        "preprocessing": steps_of(dataset),
        "outputs": {
            "reconstruction": f"(batch, channels, {axes}), the decoded posterior mean"
            + ", of the slice in the middle" * (dataset.context > 0),
            ROW: ", ".join(
                [
                    f"(batch, 1, {axes}), mean over channels of |image - reconstruction|"
                    + " in the middle" * (dataset.context > 0),
                    *around,
                ]
            ),
            "kl": "(batch,), KL of the posterior from the prior in nats" + ("; 0: an autoencoder" * (result.beta == 0)),
        },
        "predictor": {"row": ROW if row else None, "why_not": why_not, "smooth": smooth, "min_pool": pooled},
        "threshold": threshold_of(learned) if learned else None,
        "threshold_fpr": config.localization.fpr,
        "threshold_rule": f"{ROW} >= threshold is anomalous; so is at most the share threshold_fpr of normal validation pixels",
        "foreground": "the brain" if isinstance(dataset, NiftiConfig) else "all pixels",
        "data": sources_of(dataset),
    }


def channels_of(dataset: DatasetConfig) -> list[str]:
    """The names of an image's channels: modalities, or colours."""
    if isinstance(dataset, NiftiConfig):
        offsets = range(-dataset.context, dataset.context + 1)
        return [f"{name} {offset:+d}" if offset else name for offset in offsets for name in modalities(dataset)]
    return ["red", "green", "blue"] if getattr(dataset, "color", True) else ["grey"]


def context_of(dataset: DatasetConfig) -> str | None:
    """How an image is made of several slices, in words; None where it is one."""
    if dataset.depth:
        step = dataset.slice_step if isinstance(dataset, NiftiConfig) else 1
        return (
            f"{dataset.depth} slices, each {step} after the one before in the numbers of the volume's slices; a "
            "last volume is moved back to end with the scan's slices, and where these are fewer the last one is repeated"
        )
    if not dataset.context:
        return None
    return (
        f"{2 * dataset.context + 1} slices of the volume, each the next one to the one before whatever its brain, the one in "
        "question in the middle: its channels stand side by side, slice after slice; where the volume, as it was preprocessed, "
        "ends, its last slice is repeated"
    )


def range_of(dataset: DatasetConfig) -> list[float] | None:
    """The least and the greatest value of an image; None where preprocessing leaves that open."""
    if not isinstance(dataset, NiftiConfig):
        return [0.0, 1.0]
    entries = [entry for entry in dataset.preprocess.values() if entry is not None]
    if not entries or entries[-1]["use"] != ScaleInBraind.__name__:
        return None
    scale = ScaleInBraind(**{key: value for key, value in entries[-1].items() if key != "use"})
    low, high = min(scale.low, 0.0), max(scale.high, 0.0)  # it is 0 outside of the brain
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None


def steps_of(dataset: DatasetConfig) -> list[str | dict[str, Any]]:
    """From a file to `image`, in order: in words, and the transforms of dataset.preprocess with what those of ours mean."""
    rounded = {
        "float16": "rounded to float16",
        "uint8": "rounded to 255 steps over the range of the scan or picture and 0",
    }
    last = [RESIZE, f"{rounded[dataset.storage]}, as which slices are kept; then float32"]
    if isinstance(dataset, PictureConfig):
        turned = "turned as its EXIF data says; what is transparent lies on black: colour times alpha"
        colour = "RGB" if dataset.color else "grey: from colour the luma of ITU-R 601-2"
        cut = ["cut along the longer side into squares of the shorter one, of which the last ends with the picture"]
        values = "8 bits / 255, 16 bits of grey / 65535, so that values are in [0, 1]"
        return [turned, colour, values, *cut * dataset.squares, *last]
    assert isinstance(dataset, NiftiConfig)
    entries = [dict(entry) for entry in dataset.preprocess.values() if entry is not None]
    meant = [entry | ({"meaning": _meaning(entry["use"])} if entry["use"] in OURS else {}) for entry in entries]
    return [
        "volumes with their axes in RAS+ order, without resampling; modalities on one grid are the channels",
        *meant,
        f"{dataset.plane} slices: {VIEWS[dataset.plane]}",
        "cropped to a square around the middle of the box that holds the brain of all slices: side = 1.08 times its longer "
        "side, rounded (half to even); first row = floor((first row of the box + its last row + 1 - side) / 2), and so the "
        "first column; 0 beyond the volume",
        f"slices of which at least {dataset.min_foreground:g} of that square is brain; of these the first and every "
        f"{dataset.slice_step}. after it",
        *last[:1],
        "0 outside of the brain, which was scaled to the size by nearest pixel centre",
        *last[1:],
    ]


def threshold_of(learned: Learned) -> float | None:
    """The least score of the row that is called anomalous; None if the run has set none, or no score is as high."""
    if ROW not in learned.thresholds:
        return None
    known = learned.calibration[ROW]
    score = bin_lower_edge(learned.thresholds[ROW], known.pivot, known.bits)
    return score if math.isfinite(score) else None


def sources_of(dataset: DatasetConfig) -> list[dict[str, str]]:
    """Which data the model has learned from, under which licence and with which papers to cite, where that is known."""
    healthy = dataset.healthy if isinstance(dataset, NiftiConfig) else None
    return [
        {"name": one.name, "title": one.about.title, "licence": one.about.licence, "citation": one.about.citation}
        for one in (dataset, healthy)
        if one is not None and one.about is not None
    ]


def _meaning(use: str) -> str:
    """What a transform of this project does, in one line."""
    return " ".join((inspect.getdoc(OURS[use]) or "").split()).partition(" Raises ")[0]
