"""What a finished run reached, for its trackers: numbers, a table of the predictors, curves, histograms and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers.logger import Logger

from anomaly_bench.tracking.wandb.logger import WandbLogger, harmless, picture_of
from leaderboard.record import METRICS, PredictorResult, RunResult

from .charts import precision_recall, pro, roc, score_histogram
from .media import wandb_pictures
from .names import metric_key
from .other_loggers import Patient

if TYPE_CHECKING:
    from anomaly_bench.localization import LocalizationCallback

CURVES: dict[str, tuple[Callable[..., Any], str, str]] = {
    "roc": (roc, "false-positive rate", "true-positive rate"),
    "pr": (precision_recall, "recall", "precision"),
    "pro": (pro, "false-positive rate", "per-region overlap"),
}
MODEL_PICTURES = ("overview", "model")


def log_results(loggers: Sequence[Logger], result: RunResult, localization: LocalizationCallback) -> None:
    """Log everything that a run reached, as its last row."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            _log_wandb(logger, result, localization)
        elif isinstance(logger, Patient):
            logger.log_final(final_numbers(result), int(result.training.get("epochs") or 0))


def final_numbers(result: RunResult) -> dict[str, float]:
    """`val/…` (criteria among them) and `test/…` of every predictor, how the training went, and seconds."""
    numbers = {
        metric_key(part, name, metric): measure.value
        for name, row in result.predictors.items()
        for part, measures in (("val", row.validation), ("test", row.test))
        for metric, measure in measures.items()
        if measure.value is not None
    }
    numbers |= {
        metric_key("val", name, criterion): value
        for name, row in result.predictors.items()
        for criterion, value in row.criteria.items()
        if value is not None
    }
    reached = {f"training/{key}": result.training.get(key) for key in ("best_elbo", "best_epoch", "epochs")}
    numbers |= {key: float(value) for key, value in reached.items() if value is not None}
    numbers |= {f"time/{phase}_seconds": seconds for phase, seconds in result.provenance.durations.items()}
    return numbers | {
        f"time/{name}_seconds_per_image": row.seconds_per_image for name, row in result.predictors.items()
    }


@harmless
def _log_wandb(logger: WandbLogger, result: RunResult, localization: LocalizationCallback) -> None:
    import wandb

    header, rows = predictor_table(result)
    values: dict[str, Any] = final_numbers(result) | {"predictors": wandb.Table(columns=[*header], data=rows)}
    values |= _curves(localization) | _histograms(localization)
    values |= wandb_pictures(localization)
    for name in MODEL_PICTURES:
        if (path := logger.pictures / f"{name}.png").exists():
            values[f"pictures/{name}"] = picture_of(path, name)
    logger.log_final(values)


def predictor_table(result: RunResult) -> tuple[list[str], list[list[Any]]]:
    """Header and a row for each predictor: test metrics, intervals over subjects, validation metrics, time, choices."""
    metrics = (*METRICS, *dict.fromkeys(name for row in result.predictors.values() for name in row.own_metrics))
    intervals = [
        name for name in metrics if any(row.test[name].ci_low is not None for row in result.predictors.values())
    ]
    validated = [name for name in metrics if any(name in row.validation for row in result.predictors.values())]
    header = ["predictor", *metrics]
    header += [f"{name} {side}" for name in intervals for side in ("95 % low", "95 % high")]
    header += [*(f"validation {name}" for name in validated), "ms per image", "members", "smooth px", "sign"]

    def cells(name: str, row: PredictorResult) -> Iterator[Any]:
        yield name
        yield from (row.test[metric].value for metric in metrics)
        for metric in intervals:
            yield from (row.test[metric].ci_low, row.test[metric].ci_high)
        yield from (row.validation[metric].value if metric in row.validation else None for metric in validated)
        yield 1000 * row.seconds_per_image
        yield ", ".join(row.choice.members) if row.choice else ""
        yield row.map.smooth if row.map else None
        yield f"{row.map.sign}, by {row.map.sign_by}" if row.map and row.map.sign else ""

    return header, [list(cells(name, row)) for name, row in result.predictors.items()]


def _curves(localization: LocalizationCallback) -> dict[str, Any]:
    """One chart of all predictors for each kind of curve."""
    import wandb

    charts = {}
    for key, (points, x, y) in CURVES.items():
        rows = []
        for name in localization.suite.shown:
            series = points(localization.tallies[name].curve)
            rows += [[name, *point] for point in zip(*(values.tolist() for values in series), strict=True)]
        table = wandb.Table(columns=["predictor", x, y], data=rows)
        charts[f"curves/{key}"] = wandb.plot.line(table, x, y, stroke="predictor", title=f"{key.upper()}, test pixels")
    return charts


def _histograms(localization: LocalizationCallback) -> dict[str, Any]:
    """For each predictor, the scores of normal against those of anomalous test pixels."""
    import wandb

    charts = {}
    for name in localization.suite.shown:
        scores, normal, anomalous = score_histogram(localization.tallies[name].curve)
        if len(scores):
            shares = [normal.tolist(), anomalous.tolist()]
            title = f"{name}, share of test pixels"
            kinds = ["normal", "anomalous"]
            charts[f"scores/{name}"] = wandb.plot.line_series(scores.tolist(), shares, kinds, title, "score")
    return charts
