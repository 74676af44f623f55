"""Criteria that normal validation images alone give: of a model, and of each row's maps. Higher is better in every one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from anomaly_bench.metrics import LocalizationCurve, formulas
from anomaly_bench.models import VAE
from anomaly_bench.models.slices import slices_of
from anomaly_bench.predictors.ensemble import TimedMap
from data_modules.base.batch import AnomalyBatch
from leaderboard.record import FINGERPRINT

from .synthetic import parts_of

Maps = Callable[[AnomalyBatch], Mapping[str, TimedMap]]
BITS = 16
BATCH = 32
SHIFT = (2, 3)  # pixels down and to the right
BRIGHTER, RAISED = 1.05, 0.02  # what intensities are multiplied by, and raised by as a share of their sd


@torch.no_grad()
def bounds(model: VAE, images: Tensor, draws: int = 16, seed: int = 0) -> dict[str, float]:
    """`elbo` and `iwae`: mean over images (N, C, H, W) of two lower bounds on log p(x), in nats, whatever beta.

    elbo: E_q[log p(x|z)] - KL(q ‖ p) (Kingma & Welling 2014). iwae: log of the mean importance weight of so many draws
    (Burda et al. 2016, arXiv 1509.00519, eq. 8). Empty for an autoencoder, which has no p(x).
    """
    if not model.variational:
        return {}
    random, totals = torch.Generator().manual_seed(seed), torch.zeros(2, dtype=torch.float64)
    for image in images.split(BATCH):
        image = image.to(model.device, next(model.parameters()).dtype)
        mean, logvar = model.encode(image)
        weights = []
        for _ in range(draws):
            noise = torch.randn(mean.shape, generator=random).to(mean)
            latent = mean + noise * (0.5 * logvar).exp()
            rec = model.likelihood.nll(model.middle(image), *model.decode_with_scale(latent))
            prior_to_posterior = 0.5 * (noise.square() + logvar - latent.square()).flatten(1).sum(1)
            weights.append((prior_to_posterior - rec).double().cpu())
        table = torch.stack(weights)
        totals += torch.stack([table.mean(), table.logsumexp(0).mean() - math.log(draws)]) * len(image)
    return dict(zip(("elbo", "iwae"), (totals / len(images)).tolist(), strict=True))


def localized(scores: Mapping[str, Tensor], pasted: AnomalyBatch) -> dict[str, dict[str, float | None]]:
    """`synthetic_ap` and `synthetic_auroc`: how well each row's maps (N, 1, H, W) localize what was pasted, over all pixels."""
    found = {}
    for name, score in scores.items():
        curve = LocalizationCurve(BITS)
        curve.update(score, *(slices_of(pasted[key]) for key in ("mask", "foreground", "region_weight")))
        known = formulas.read_all(*curve.descending())
        values = {key: known[key] for key in ("ap", "auroc")}
        found[name] = {f"synthetic_{key}": None if one is None else one.value for key, one in values.items()}
    return found


def false_positives(score: Tensor, foreground: Tensor, fpr: float) -> float | None:
    """Minus the mass of false positives of normal maps (N, 1, H, W): the mean of what exceeds the threshold that `fpr` sets.

    In units of the threshold's distance from the median, so that neither scale nor origin of a predictor counts. A heavy tail
    of normal scores is where anomalies drown. None if half the pixels or more share the threshold's value.
    """
    pixels = score[foreground].double().numpy()
    if not len(pixels):
        return None
    middle, threshold = np.quantile(pixels, [0.5, 1 - fpr])
    if not threshold > middle:
        return None
    return -float(np.maximum(pixels - threshold, 0).mean() / fpr / (threshold - middle))


def consistency(maps: Maps, normal: AnomalyBatch, scores: Mapping[str, Tensor]) -> dict[str, float | None]:
    """How alike each row's maps of an image and of its flipped, shifted and brighter copies are, as rank correlation.

    scores: the maps (N, 1, H, W) of the images themselves. Mean over images and copies, each over foreground pixels that both
    have; None where no image has maps of more than one value.
    """
    found: dict[str, list[float]] = {name: [] for name in scores}
    for change, copied in (
        (flipped, moved(normal, flipped)),
        (shifted, moved(normal, shifted)),
        (unchanged, brighter(normal)),
    ):
        got = of_images(maps, copied)
        seen = slices_of(copied["foreground"]).clone()
        if change is shifted:  # what has come in from the other side is not the image
            seen[:, :, : SHIFT[0]] = seen[..., : SHIFT[1]] = False
        for name, score in scores.items():
            for one, other, counts in zip(got[name], change(score), seen, strict=True):
                found[name].append(rank_correlation(one[counts], other[counts]))
    means = {name: [value for value in values if not math.isnan(value)] for name, values in found.items()}
    return {name: sum(values) / len(values) if values else None for name, values in means.items()}


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's, of vectors; NaN if one of them has a single value."""
    ranks = torch.stack([torch.from_numpy(rankdata(one.numpy())) for one in (a, b)])
    if len(a) < 2 or (ranks.std(1) == 0).any():
        return math.nan
    return float(torch.corrcoef(ranks)[0, 1])


def fingerprint(score: Tensor, foreground: Tensor) -> list[int]:
    """The ranks of a row's scores at pixels spread evenly over the foreground of normal images, in 0..255.

    Of two seeds with the same images, the correlation of these is the rank correlation of their maps.
    """
    pixels = score[foreground]
    places = torch.linspace(0, max(len(pixels) - 1, 0), min(FINGERPRINT, len(pixels))).round().long()
    ranks = rankdata(pixels[places].numpy())
    return [round(255 * (rank - 1) / max(len(ranks) - 1, 1)) for rank in ranks.tolist()]


def of_images(maps: Maps, images: AnomalyBatch) -> dict[str, Tensor]:
    """The maps (N, 1, H, W) of many images by row, localized some at a time."""
    parts: dict[str, list[Tensor]] = {}
    for batch in in_batches(images):
        for name, (score, _) in maps(batch).items():
            parts.setdefault(name, []).append(score)
    return {name: torch.cat(several) for name, several in parts.items()}


def in_batches(images: AnomalyBatch) -> Iterator[AnomalyBatch]:
    """The images, some at a time."""
    for first in range(0, len(images["image"]), BATCH):
        part = {key: value[first : first + BATCH] for key, value in parts_of(images)}
        yield cast(AnomalyBatch, part)


def moved(batch: AnomalyBatch, change: Callable[[Tensor], Tensor]) -> AnomalyBatch:
    """The batch with its images and masks changed alike."""
    parts = {key: change(value) if value.ndim >= 4 else value for key, value in parts_of(batch)}
    return cast(AnomalyBatch, parts)


def flipped(pixels: Tensor) -> Tensor:
    return pixels.flip(-1)


def shifted(pixels: Tensor) -> Tensor:
    return pixels.roll(SHIFT, (-2, -1))


def unchanged(pixels: Tensor) -> Tensor:
    return pixels


def brighter(batch: AnomalyBatch) -> AnomalyBatch:
    """The batch with intensities multiplied and raised a little in the foreground, and wherever else they are not 0."""
    image = batch["image"]
    raised = image * BRIGHTER + RAISED * image.std(dim=[dim for dim in range(image.ndim) if dim != 1], keepdim=True)
    return cast(AnomalyBatch, {**batch, "image": torch.where(batch["foreground"] | (image != 0), raised, image)})
