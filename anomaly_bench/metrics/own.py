"""Metrics of a user's own: functions of a LocalizationCurve, and torchmetrics Metrics of pixel scores and labels."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_mean

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.imports import import_path, load
from leaderboard.record import METRICS, Measure

from .curve import LocalizationCurve

KEY = "localization.metrics"
NAME = re.compile(r"(?!validation_)[A-Za-z]\w*")  # what a column of a table may be called beside validation_<metric>
BOUNDS = ("_low", "_high")  # ends of the columns that tables have beside a metric's
UNDEFINED = Measure(value=None, low=None, high=None)
Given = str | Callable[[LocalizationCurve], Any] | Metric | type[Metric]


class OwnMetric:
    """One metric of a user's own, of the maps of one predictor.

    given: an import path or what it names: a function of a LocalizationCurve, or a torchmetrics Metric (a class that needs no
    arguments, or an instance, which is copied) that is updated with scores (N,) float32 and labels (N,) int64, 0 or 1, of the
    foreground pixels of a batch. Both give a number, higher being better, or None or NaN where they are undefined; a function
    may also give a `Certified`, with its bounds. Raises ConfigError for anything else.
    """

    def __init__(self, name: str, given: Given) -> None:
        shown = import_path(given) if callable(given) else given
        self.name, self.given, self.key = name, given, f"{KEY}.{name}={shown}"
        found = load(f"{KEY}.{name}", given) if isinstance(given, str) else given
        if isinstance(found, type) and issubclass(found, Metric):
            found = self._asked(found)
        self.pixels: Metric | None = None
        self.function: Callable[[LocalizationCurve], Any] | None = None
        if isinstance(found, Metric):
            self.pixels = _alone(found)
        elif callable(found):
            self.function = found
        else:
            raise ConfigError(f"{self.key}: expected a function of a LocalizationCurve, or a torchmetrics Metric")
        if self.pixels is not None and self.pixels.higher_is_better is False:
            raise ConfigError(f"{self.key}: lower is better in it; name a metric that gives its negative")

    def fresh(self) -> OwnMetric:
        """The same metric, of nothing yet."""
        return OwnMetric(self.name, self.given)

    def __getstate__(self) -> dict[str, Any]:
        """Without the user's function, which may be one that cannot be pickled: every process has it."""
        return {**vars(self), "given": None, "function": None}

    def update(self, scores: Tensor, mask: Tensor, foreground: Tensor) -> None:
        """Count a batch, (B, 1, H, W) each, on the CPU. Raises ConfigError for what the user's code raises."""
        if self.pixels is not None and foreground.any():
            self._asked(self.pixels.update, scores[foreground].float(), mask[foreground].long())

    def merge(self, other: OwnMetric) -> None:
        """Add what another process counted. Raises ConfigError for a Metric whose states do not add up."""
        if self.pixels is None or other.pixels is None or not other.pixels.update_called:
            return
        if not self.pixels.update_called:
            self.pixels = other.pixels
            return
        means = dim_zero_mean in self.pixels._reductions.values()
        if type(self.pixels).merge_state is Metric.merge_state and (
            self.pixels.full_state_update is not False or means
        ):
            remedy = "set full_state_update = False and hold sums, concatenations, least or greatest values"
            raise ConfigError(f"{self.key}: its states do not add up over processes; {remedy}")
        self.pixels._update_count += other.pixels.update_count
        self._asked(self.pixels.merge_state, other.pixels)
        self.pixels._computed = None  # torchmetrics 1.9 would answer with the result from before the merge

    def measure(self, curve: LocalizationCurve) -> Measure:
        """Its value of what has been counted, of which `curve` are the histograms. Raises ConfigError if it is none."""
        if self.function is not None:
            value = self._asked(self.function, curve)
        elif self.pixels is not None and self.pixels.update_called:
            value = self._asked(self.pixels.compute)
        else:
            value = None
        return UNDEFINED if value is None else self._asked(_measure, value)

    def _asked(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:  # whatever a user's code raises
            raise ConfigError(f"{self.key}: {type(error).__name__}: {error}") from error


def own_metrics(given: Mapping[str, Given]) -> dict[str, OwnMetric]:
    """A user's own metrics by name, each tried on an image of two by two pixels, half of them anomalous.

    Raises ConfigError naming the key: for a name that is no word or taken, and for what is no metric.
    """
    metrics = {}
    scores, mask = torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]]]), torch.tensor([[[[False, True], [False, True]]]])
    for name, what in given.items():
        if name in METRICS or name.endswith(BOUNDS):
            raise ConfigError(
                f"{KEY}.{name}: there is a metric of this name already, or a bound of one ({', '.join(BOUNDS)}); "
                "choose another name"
            )
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{KEY}.{name}: expected a name of letters, digits and _ that does not begin with validation_"
            )
        metrics[name] = OwnMetric(name, what)
        trial, curve = metrics[name].fresh(), LocalizationCurve(bits=8)
        curve.update(scores, mask)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of so few pixels
            trial.update(scores, mask, torch.ones_like(mask))
            trial.measure(curve)
    return metrics


def _alone(metric: Metric) -> Metric:
    """An empty copy on the CPU that talks to no other process: tallies are added up, in a certain order."""
    copied = metric.clone().cpu()
    copied.reset()
    for part in copied.modules():
        if isinstance(part, Metric):
            part.distributed_available_fn = _never
    return copied


def _never() -> bool:
    return False


def _measure(value: Any) -> Measure:
    """Raises ValueError unless the value is one finite number or NaN, with bounds or without, and TypeError for no number."""
    if hasattr(value, "low") and hasattr(value, "high"):
        return Measure(value=float(value.value), low=float(value.low), high=float(value.high))
    number = float(value)
    if math.isinf(number):
        raise ValueError(f"it gives {number}; expected a finite number, or NaN where it is undefined")
    return UNDEFINED if math.isnan(number) else Measure(value=number, low=None, high=None)
