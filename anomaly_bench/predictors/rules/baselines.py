"""Baselines that need no model: every learned method has to be seen beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from anomaly_bench.predictors.base import Predictor, channel_mean, register
from anomaly_bench.predictors.evidence import Evidence
from anomaly_bench.predictors.filters import equalise, local_contrast, slice_by_slice

from .one_pass import check_window


@register("intensity")
@dataclass(frozen=True)
class Intensity(Predictor):
    """The image's own intensity, mean over channels (Meissen et al. 2021, arXiv 2109.06023).

    equalised: whether the histogram of each image's foreground is equalised first. The paper does so, volume by volume; here
    it is image by image (slice by slice, or with dataset.depth so many slices at once): every image's brightest pixel scores 1.

    Good at what is bright by nature: lesions in FLAIR. Bad at dark anomalies, and in pictures where intensity means nothing.
    """

    uses_model: ClassVar[bool] = False
    uses_latent: ClassVar[bool] = False

    equalised: bool = False

    @property
    def pivot(self) -> float | None:
        """Equalised scores are shares; the brightest pixels crowd below 1."""
        return 1.0 if self.equalised else None

    def score(self, evidence: Evidence) -> Tensor:
        grey = channel_mean(evidence.image)
        return equalise(grey, evidence.foreground) if self.equalised else grey


@register("local_contrast")
@dataclass(frozen=True)
class LocalContrast(Predictor):
    """|x − m| / max(s, c): how far a pixel is from the mean m of its surroundings, in their standard deviations s.

    Local contrast normalisation (Jarrett et al. 2009, ICCV, "What is the best multi-stage architecture for object
    recognition?"), c being the image's mean of s. Surroundings are foreground pixels under a Gaussian window.
    window, sigma: its side in pixels, odd, and the Gaussian's standard deviation, a quarter of the side; both are our choice.

    Good at small spots and scratches on a smooth surface, as in pictures of products. Bad at anomalies larger than its window,
    of which it sees the edge alone, and at normal images with contours or a strong texture.
    """

    uses_model: ClassVar[bool] = False
    uses_latent: ClassVar[bool] = False

    window: int = 9
    sigma: float = 2.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_window(self.window, self.sigma)

    def score(self, evidence: Evidence) -> Tensor:
        contrast = partial(local_contrast, sigma=self.sigma, window=self.window)
        return channel_mean(slice_by_slice(contrast, evidence.image, evidence.foreground))
