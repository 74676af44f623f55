"""What a predictor is, and the register of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any, ClassVar, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.imports import load
from anomaly_bench.models.slices import slices_of
from anomaly_bench.models.vae import VAE
from data_modules.base.errors import did_you_mean

from .evidence import Evidence
from .filters import eroded, gaussian_smooth, lowered_outside, median_filter, min_pool

REGISTER: dict[str, type[Any]] = {}
NO_KL = "an autoencoder has no KL divergence, and so no gradient of one; a VAE has (model=vae, model=beta_vae)"
SIGNS = ("positive", "negative", "signed")
SMOOTHED_SHARE = 1 / 32  # of an image's shorter side: 2 pixels of 64
T = TypeVar("T")


@dataclass(frozen=True)
class Predictor(ABC):
    """A rule from Evidence to a map (B, 1, H, W), higher = more anomalous; raw, never normalised.

    What every predictor can have around it, in this order; 0 leaves a step out. All lengths are in pixels.

    noise_samples: the map is averaged over so many noisy copies of each image (SmoothGrad, Smilkov et al. 2017, arXiv
    1706.03825, who take 50). noise: their noise's standard deviation, as a share of the image's range; the paper: 0.1 to 0.2.
    latent_samples: the map is averaged over so many posterior samples in place of the posterior mean.
    smooth: standard deviation of the Gaussian that smooths the map; None: a run chooses it on its validation images, and where
    nothing has been chosen it is 1/32 of the image's shorter side. median: side of the median filter's window, odd (Baur et
    al. 2021, arXiv 2004.03271; 5 as public reimplementations have it). min_pool: side of the window whose least score a pixel
    gets, odd: removes thin responses such as edges, and shrinks the rest.
    erode: pixels this close to the background get the least score in the image's foreground (Baur et al. 2021), as errors at
    the brain's rim are seldom anomalies. They still count in every metric.

    iterative: takes many passes through the model. uses_model: is another with another model. uses_latent: depends on a latent
    that can be sampled.
    blob_exempt: why a bright blob need not raise its own region; empty if it has to.
    """

    iterative: ClassVar[bool] = False
    uses_model: ClassVar[bool] = True
    uses_latent: ClassVar[bool] = True
    blob_exempt: ClassVar[str] = ""

    _: KW_ONLY
    smooth: float | None = None
    median: int = 0
    min_pool: int = 0
    erode: int = 0
    noise_samples: int = 0
    noise: float = 0.1
    latent_samples: int = 0

    def __post_init__(self) -> None:
        if self.smooth is not None and not 0 <= self.smooth < float("inf"):
            raise ConfigError(f"smooth={self.smooth}: expected 0, a standard deviation in pixels, or null")
        for name in ("median", "min_pool"):
            size = getattr(self, name)
            if size < 0 or (size and size % 2 == 0):
                raise ConfigError(f"{name}={size}: expected 0 or an odd side in pixels")
        for name in ("erode", "noise_samples", "latent_samples"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: expected 0 or more")
        if not self.noise > 0:
            raise ConfigError(f"noise={self.noise}: expected a share of the image's range, above 0")
        if self.latent_samples and not self.uses_latent:
            raise ConfigError(f"latent_samples={self.latent_samples}: this predictor depends on no latent; set 0")

    @property
    def pivot(self) -> float | None:
        """The score around which the bins of its curves are finest, None where its scores say so themselves."""
        return None

    @property
    def signed(self) -> str | None:
        """Of signed errors, which are anomalous: positive (too bright), negative (too dark), or signed (still to be chosen).

        None for all other maps. A class that has signs has them in its field `error`.
        """
        return None

    def says_nothing(self, model: VAE) -> str:
        """Why every pixel gets the same score with this model; empty if it does not."""
        return ""

    def simplified(self, model: VAE) -> Predictor:
        """The simplest predictor whose maps rank as this one's with this model."""
        return self if model.variational else replace(self, latent_samples=0)

    @property
    def cheap(self) -> bool:
        """Whether it takes no more than the passes that all predictors share."""
        return not (self.iterative or self.noise_samples or self.latent_samples)

    def __call__(self, evidence: Evidence) -> Tensor:
        return self.finished(self.unfinished(evidence), evidence.foreground)

    def unfinished(self, evidence: Evidence) -> Tensor:
        """The map of a batch before all filters, (B, 1, H, W): what every width of smoothing starts from.

        Of volumes that of their slices, one after the other, (B · D, 1, H, W): from here on they are images.
        """
        sampled = self.noise_samples or self.latent_samples
        score = self.average(self._views(evidence)) if sampled else self.score(evidence)
        if not isinstance(score, Tensor) or not score.is_floating_point():
            got = score.dtype if isinstance(score, Tensor) else type(score).__name__
            raise ValueError(f"{type(self).__name__}: expected a map that is a floating tensor, got {got}")
        if score.shape != evidence.foreground.shape:
            expected = list(evidence.foreground.shape)
            axes = "(B, 1, H, W)" if len(expected) == 4 else "(B, 1, D, H, W)"
            raise ValueError(f"{type(self).__name__}: expected a map {expected}, {axes}, got {list(score.shape)}")
        return slices_of(score)

    def finished(self, score: Tensor, foreground: Tensor) -> Tensor:
        """The map that an unfinished one becomes, (B, 1, H, W) both: of its sign, smoothed and filtered.

        foreground: of the same images, or of the volumes whose slices they are.

        Raises ConfigError if the sign is still to be chosen.
        """
        if self.signed == "signed":
            raise ConfigError(
                "error=signed: which sign is anomalous has not been chosen yet; set error=positive or error=negative, or "
                "calibrate(normal, anomalous=batches) with anomalous validation images"
            )
        score = -score if self.signed == "negative" else score
        score = gaussian_smooth(score, width_by_size(score.shape) if self.smooth is None else self.smooth)
        if self.median:
            score = median_filter(score, self.median)
        if self.min_pool:
            score = min_pool(score, self.min_pool)
        if self.erode:
            foreground = slices_of(foreground)
            score = lowered_outside(score, eroded(foreground, self.erode), foreground)
        return score

    @abstractmethod
    def score(self, evidence: Evidence) -> Tensor:
        """The map before smoothing, (B, 1, H, W), of volumes (B, 1, D, H, W); of signed errors, higher where the image is
        brighter than expected.
        """

    def converged(self, evidence: Evidence) -> Tensor | None:
        """Which images have converged, (B,) bool, of an iterative predictor that knows, once it has given their map."""
        return None

    def average(self, views: Iterable[Evidence]) -> Tensor:
        """The map before smoothing over noisy or sampled views of the same images."""
        return mean_of(self.score(view) for view in views)

    def _views(self, evidence: Evidence) -> Iterator[Evidence]:
        for number in range(max(self.noise_samples, 1)):
            view = evidence.noisy(number, self.noise) if self.noise_samples else evidence
            if not self.latent_samples:
                yield view
            for sample in range(self.latent_samples):
                yield view.sampled(sample)


def register(name: str) -> Callable[[type[T]], type[T]]:
    """Make a predictor class available as `use: name` in a config."""

    def add(cls: type[T]) -> type[T]:
        if name in REGISTER:
            raise ValueError(f"predictor '{name}' is registered already, as {REGISTER[name].__name__}")
        REGISTER[name] = cls
        return cls

    return add


def build_predictor(name: str, settings: Mapping[str, Any]) -> Any:
    """The predictor that one entry of `predictors.members` describes. Raises ConfigError naming the key."""
    key = f"predictors.members.{name}"
    arguments = dict(settings)
    use = arguments.pop("use", None)
    cls = find_predictor(f"{key}.use", use)
    known = [item.name for item in fields(cls)]
    for argument in arguments:
        if argument not in known:
            raise ConfigError(f"{key}.{argument}: no such argument of '{use}'; {did_you_mean(argument, known)}")
    types = get_type_hints(cls)
    for argument, value in arguments.items():
        try:
            TypeAdapter(types[argument]).validate_python(value)
        except ValidationError as error:
            raise ConfigError(f"{key}.{argument}={value}: {error.errors()[0]['msg']}") from error
    try:
        return cls(**arguments)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{key}: {error}") from error


def find_predictor(key: str, use: str | None) -> type[Any]:
    """A registered class, or a user's own by its import path. Raises ConfigError naming the key."""
    if use in REGISTER:
        return REGISTER[use]
    if use is None or "." not in use:
        raise ConfigError(
            f"{key}={use}: no such predictor; {did_you_mean(str(use), REGISTER)}, or name your own class as package.module.Name"
        )
    cls = load(key, use)
    if not (isinstance(cls, type) and issubclass(cls, Predictor)):
        raise ConfigError(f"{key}={use}: expected a subclass of anomaly_bench.predictors.Predictor")
    return cls


def width_by_size(shape: Sequence[int]) -> float:
    """The standard deviation in pixels that smooths maps (…, H, W) where there is nothing to choose one by."""
    return SMOOTHED_SHARE * min(shape[-2:])


def one_of(argument: str, value: str, options: tuple[str, ...]) -> None:
    """Raises ConfigError unless the value is one of the options."""
    if value not in options:
        raise ConfigError(f"{argument}={value}: expected one of {', '.join(options)}")


def channel_mean(values: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 1, H, W): how every map reduces channels."""
    return values if values.shape[1] == 1 else values.mean(dim=1, keepdim=True)


def mean_of(tensors: Iterable[Tensor]) -> Tensor:
    """The mean of at least one tensor, of which only one is held at a time."""
    total, count = None, 0
    for tensor in tensors:
        total, count = tensor if total is None else total + tensor, count + 1
    if total is None:
        raise ValueError("expected at least one tensor to average, got none")
    return total / count
