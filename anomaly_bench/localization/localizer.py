"""A trained model applied: its predictors' maps, and where their scores stand among those of normal pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomaly_bench.metrics import Calibration, top_k_mean
from anomaly_bench.metrics.bins import score_keys
from anomaly_bench.metrics.counting import counted_on
from anomaly_bench.models import VAE
from anomaly_bench.models.batches import image_of
from anomaly_bench.models.likelihoods import at_least_single
from anomaly_bench.models.slices import like
from anomaly_bench.predictors.base import width_by_size
from anomaly_bench.predictors.ensemble import TimedMap
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.possible import possible
from anomaly_bench.predictors.suite import Predictors, suite_of
from data_modules.base.batch import AnomalyBatch
from data_modules.base.errors import did_you_mean
from leaderboard.record import SubsetChoice

from .tallies.batches import CPU, brought, completed, placed
from .trained import load_model, load_suite, result_of
from .validation.learned import LEARNED_FILE, Learned
from .validation.search import Searches, settled, to_search_on
from .validation.variants import Survey, Variant, finished_as

BITS = 21
UNLEARNED = "a threshold, a search's choice and the shares of an ensemble come from a finished run, or a trainer's test"
Maps = Callable[[AnomalyBatch], dict[str, TimedMap]]
Advance = Callable[[], None]


KEPT = 1 << 28  # bytes of maps
ODD = 6364136223846793005  # of Knuth's MMIX, that spreads bits well


def no_advance() -> None:
    """Tell nobody of a batch that is done."""


class Kept:
    """Unfinished maps of the first batches that came, by their pixels, as far as they take no more than `limit` bytes."""

    def __init__(self, limit: int = KEPT) -> None:
        self._maps: dict[object, dict[str, TimedMap]] = {}
        self._left = limit

    def get(
        self, evidence: Evidence, names: list[str], localize: Callable[[Evidence, list[str]], dict[str, TimedMap]]
    ) -> dict[str, TimedMap]:
        """The maps of that name, of those kept or by `localize(evidence, names)`."""
        key = _digest(evidence)
        known = self._maps.get(key, {})
        if set(names) <= set(known):
            return {name: known[name] for name in names}
        maps = localize(evidence, names)
        size = sum(score.nbytes for score, _ in maps.values())
        if not known and size <= self._left:
            self._left -= size
            self._maps[key] = {name: (score.detach(), seconds) for name, (score, seconds) in maps.items()}
        return maps


def _digest(evidence: Evidence) -> object:
    """What tells a batch from others: of a GPU's a few sums over the bits of its pixels, which alone come over."""
    parts = (evidence.inputs, evidence.foreground)
    if evidence.inputs.device.type == "cpu":
        key = blake2b()
        for part in parts:
            key.update(part.numpy().tobytes())
        return key.digest()
    sums = []
    for part, bits in zip(parts, (torch.int32, torch.uint8), strict=True):
        values = part.contiguous().view(-1).view(bits).long() + 1
        mixed = values * (torch.arange(len(values), device=values.device) * ODD + 1)
        sums.append(((mixed ^ (mixed >> 31)) * ODD).sum())
    return (tuple(evidence.inputs.shape), *torch.stack(sums).cpu().tolist())


class Localizer:
    """A model with its predictors, which learns in this order from validation images: `calibrate`, `choose`.

        localizer = Localizer.load("runs/tiny_brain-…")   # of a finished run, which has learned everything
        maps = localizer(images)                          # {"rec_l1": (B, 1, H, W), …}, raw: higher = more anomalous
        shares = localizer.calibrated("rec_l1", maps["rec_l1"])

    predictors: a Suite, or what `suite_of` makes one of. suite: its predictors have a width of smoothing and a sign once they
    are calibrated, and ordinary ensembles are in the place of its searches once they have chosen. choices: what they chose.
    learned: what is known of the rows' scores on normal images, and how their maps are finished. tried: of each row whose
    smoothing was chosen, its maps in every width, nothing counted.
    """

    def __init__(self, model: VAE, predictors: Predictors = "all") -> None:
        self.model, self.suite = model, suite_of(predictors)
        self.learned = Learned()
        self.choices: dict[str, SubsetChoice] = {}
        self._kept: Kept | None = None
        self.tried: dict[str, list[Variant]] = {}

    @classmethod
    def load(
        cls, run_folder: str | Path, predictors: str | Sequence[str] = (), device: str | torch.device = "cpu"
    ) -> Localizer:
        """The model of a finished run with all that the run has learned.

        predictors: a row to localize with, or several; all that the run shows if there are none.

        Raises:
            ResultError: the folder holds no finished run, or its files are damaged or of another version.
            ConfigError: the run has no row of such a name.
        """
        folder = Path(run_folder).expanduser()
        result, names = result_of(folder), [predictors] if isinstance(predictors, str) else predictors
        model = load_model(folder).to(device)
        localizer = cls(model, possible(load_suite(folder, result, names), model)[0])
        localizer.learned = Learned.read(folder / LEARNED_FILE)
        localizer.suite = finished_as(localizer.suite, localizer.learned.finishing)
        return localizer

    @property
    def pivots(self) -> dict[str, float]:
        """Of every row that is shown, where its scores crowd."""
        known, ensembles = self.learned.calibration, self.suite.ensembles
        return {name: (ensembles if name in ensembles else known)[name].pivot for name in self.suite.shown}

    @property
    def counting(self) -> torch.device:
        """Where the maps are counted: on the model's device, as far as it can."""
        return counted_on(self.model.device)

    @contextmanager
    def evidence(self, batch: AnomalyBatch) -> Iterator[Evidence]:
        """What the model says about a batch; the model is frozen meanwhile, and the batch may lie on any device."""
        device, kind = self.model.device, next(self.model.parameters()).dtype
        with frozen(self.model):
            image, foreground = batch["image"].to(device, kind), batch["foreground"].to(device)
            if image.is_inference():  # such a tensor has no part in a gradient
                image = image.clone()
            yield Evidence(self.model, image, foreground)

    def __call__(self, images: Tensor, foreground: Tensor | None = None) -> dict[str, Tensor]:
        """The raw map (B, 1, H, W) float32, higher = more anomalous, of every row that is shown, on the CPU.

        images: (B, C, H, W) as the model was trained on them, with their neighbours if it was so. foreground: (B, 1, H, W)
        bool, the pixels that count; all if not given. Of volumes (B, C, D, H, W) maps are (B, 1, D, H, W). Raises ValueError
        for another shape, and if an ensemble's members have not been calibrated.
        """
        batch = {"image": images} if foreground is None else {"image": images, "foreground": foreground}
        return {name: like(score, images) for name, (score, _) in self.maps(completed(batch)).items()}

    def single_maps(self, evidence: Evidence, names: Iterable[str] | None = None) -> dict[str, TimedMap]:
        """Raw maps (B, 1, H, W) of single predictors, all if not named, on the CPU, each with its seconds."""
        return brought(self.single_there(evidence, names))

    def single_there(self, evidence: Evidence, names: Iterable[str] | None = None) -> dict[str, TimedMap]:
        """`single_maps` where they are counted."""
        return self._finished(self.unfinished(evidence, names), evidence)

    def unfinished(self, evidence: Evidence, names: Iterable[str] | None = None) -> dict[str, TimedMap]:
        """What `single_maps` are before all filters, on the device of the evidence."""
        names = list(self.suite.single if names is None else names)
        if self._kept is None:
            return self.suite.unfinished(evidence, names)
        return self._kept.get(evidence, names, self.suite.unfinished)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Meanwhile images that come again are not localized again: the passes over validation images before a test."""
        self._kept = Kept()
        try:
            yield
        finally:
            self._kept = None

    def all_maps(self, evidence: Evidence, unfinished: Mapping[str, TimedMap] | None = None) -> dict[str, TimedMap]:
        """`single_there`, of unfinished ones if they are given, and the maps of the ensembles over them."""
        raw = self._finished(self.unfinished(evidence) if unfinished is None else unfinished, evidence)
        return raw | self.suite.combined(raw, self.calibrated)

    def _finished(self, unfinished: Mapping[str, TimedMap], evidence: Evidence) -> dict[str, TimedMap]:
        maps = self.suite.finished(unfinished, evidence)
        return {name: (score.detach().to(self.counting), seconds) for name, (score, seconds) in maps.items()}

    def maps(self, batch: AnomalyBatch) -> dict[str, TimedMap]:
        """The map (B, 1, H, W) of every row that is shown, on the CPU, with its seconds."""
        return brought(self.maps_there(batch))

    def maps_there(self, batch: AnomalyBatch) -> dict[str, TimedMap]:
        """`maps` where they are counted."""
        with self.evidence(batch) as evidence:
            maps = self.all_maps(evidence)
        return {name: maps[name] for name in self.suite.shown}

    def calibrated_maps(self, batch: AnomalyBatch, scale: str = "share") -> dict[str, TimedMap]:
        """`maps` on a scale of `calibrated`, once all rows are calibrated, as `prepare` does."""
        maps = self.maps(batch)
        return {name: (self.calibrated(name, score, scale), seconds) for name, (score, seconds) in maps.items()}

    def calibrated(self, name: str, score: Tensor, scale: str = "share") -> Tensor:
        """A row's scores as shares of normal pixels that score lower, in [0, 1], or on another scale.

        scale: of `Calibration`; same shape. Raises ValueError before `calibrate`.
        """
        return self._known(name)(score, scale)

    def segmented(self, name: str, score: Tensor) -> Tensor:
        """Which of a row's scores are called anomalous, bool, same shape: at and above the threshold set on validation."""
        known = self._known(name)
        if name not in self.learned.thresholds:
            raise ValueError(f"{name}: {UNLEARNED}")
        return score_keys(score, known.pivot, known.bits) >= self.learned.thresholds[name]

    def image_scores(self, score: Tensor, foreground: Tensor) -> Tensor:
        """A score per image (B,) of maps (B, 1, H, W): the mean of the highest share of foreground pixels, NaN without any."""
        seen = foreground.flatten(1).any(1)
        scores = torch.full((len(score),), float("nan"))
        if seen.any():
            scores[seen] = top_k_mean(score[seen], foreground[seen], self.learned.image_share)
        return scores

    def standing(self, name: str, image_scores: Tensor) -> Tensor:
        """The share of normal validation images whose score is lower, ties counting half: (B,) to (B,) in [0, 1]."""
        if name not in self.learned.normal_scores:
            raise ValueError(f"{name}: {UNLEARNED}")
        normal = self.learned.normal_scores[name]
        low, high = (torch.searchsorted(normal, image_scores, right=right) for right in (False, True))
        return (low + high) / (2 * len(normal))

    def calibrate(
        self,
        normal: Iterable[Mapping[str, Any]],
        bits: int = BITS,
        advance: Advance = no_advance,
        anomalous: Iterable[Mapping[str, Any]] = (),
        smoothing: Sequence[float] = (),
        polarity: str | None = None,
    ) -> None:
        """Learn how single predictors' maps are finished, and where their scores stand among those of normal pixels.

        Batches as `completed` takes them. anomalous, smoothing: images to choose a width on, for each predictor without
        `smooth`, among these in pixels; without them 1/32 of the image's shorter side. polarity: bright or dark, what
        anomalies are known to be, which decides the sign of `error=signed`, as anomalous images do otherwise. What has been
        chosen before, as in a run's own localizer, stays. Thresholds and image scores that were known are forgotten.

        Raises ValueError without a normal pixel, and ConfigError for a sign that nothing decides.
        """
        if self.model.rec_levels.isnan().any():
            normal = list(normal) if isinstance(normal, Iterator) else normal  # gone through twice
            self.model.rec_levels.copy_(rec_levels(self.model, normal))
        survey = Survey(self.suite, smoothing, width_by_size(self.model.shape), polarity, bits, self.counting)
        self._count(survey, normal, advance)
        survey.calibrate()
        if survey.open:
            self._count(survey, anomalous, advance)
        chosen = survey.choose()
        finishing = {name: one.choice for name, one in chosen.items()} | self.learned.finishing
        self.learned = Learned({name: one.calibration for name, one in chosen.items()}, finishing=finishing)
        self.suite = self.suite.finishing({name: one.variant.predictor for name, one in chosen.items()})
        self.tried = {name: [each.fresh() for each in one.tried] for name, one in chosen.items() if one.tried}

    def _count(self, survey: Survey, batches: Iterable[Mapping[str, Any]], advance: Advance) -> None:
        for batch in map(completed, batches):
            with self.evidence(batch) as evidence:
                survey.update(self.unfinished(evidence), evidence.foreground, placed(batch, survey.device))
            advance()

    def choose(
        self,
        normal: Iterable[AnomalyBatch],
        anomalous: Iterable[AnomalyBatch],
        advance: Advance = no_advance,
        polarity: str | None = None,
    ) -> None:
        """Let the searches choose their members on validation images; without searches do nothing.

        Where no image is anomalous, on normal ones with pasted anomalies. polarity: see DatasetConfig.

        Raises ValueError if there is no normal or no anomalous pixel.
        """
        if not self.suite.searches:
            return
        searches = Searches(self.suite.searches)
        batches, by = to_search_on(normal, anomalous, polarity, self.model.shape[0])
        for batch in batches:
            with self.evidence(batch) as evidence:
                maps = self.single_maps(evidence, searches.members)
            searches.update({name: score for name, (score, _) in maps.items()}, placed(batch, CPU))
            advance()
        self.choices = searches.choose(self.calibrated, by)
        self.suite = settled(self.suite, self.choices)

    def _known(self, name: str) -> Calibration:
        if name not in {*self.suite.single, *self.suite.ensembles, *self.suite.searches}:
            raise ValueError(f"there is no row '{name}'; {did_you_mean(name, self.suite.shown)}")
        if name not in self.learned.calibration:
            raise ValueError(
                f"{name}: not calibrated; calibrate(normal images) does it for single predictors, and {UNLEARNED}"
            )
        return self.learned.calibration[name]


def rec_levels(model: VAE, batches: Iterable[Mapping[str, Any]], images: int = 512) -> Tensor:
    """The percentiles 0 to 100 of rec over the first of some normal images, (101,) in nats: where projection may stop.

    NaN if there are no images.
    """
    levels: list[Tensor] = []
    kind = next(model.parameters()).dtype
    with frozen(model), torch.no_grad():
        for batch in batches:
            levels.append(model.terms(image_of(batch).to(model.device, kind), sample=False)[0])
            if sum(map(len, levels)) >= images:
                break
    if not levels:
        return torch.full_like(model.rec_levels, torch.nan)
    rec = at_least_single(torch.cat(levels)[:images])
    return rec.quantile(torch.linspace(0, 1, 101, dtype=rec.dtype, device=rec.device))
