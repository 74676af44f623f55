"""What a run and its numbers are called in every tracker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anomaly_bench.base.identity import Identity
from anomaly_bench.config.schema import RunConfig
from data_modules.base.names import dataset_category, dataset_name
from leaderboard.record import LOWER_IS_BETTER

PROJECT = "anomaly_bench"
STEP = "epoch"
TRAINING = {
    "train/loss": "min", "train/rec": "min", "train/kl": None, "train/beta": None, "train/lr": None,
    "val/elbo": "max", "val/elbo_mean": "max", "val/rec": "min", "val/kl": None, "val/active_units": None,
}  # fmt: skip
TAG_LENGTH = 64  # the most that W&B takes


def run_name(identity: Identity) -> str:
    """Dataset, model, beta and seed of a run, for readers."""
    return identity.folder.rsplit("-", 1)[0]


def group_name(config: RunConfig, beta: float) -> str:
    """What the seeds of one setting share: dataset/model/beta."""
    return f"{dataset_name(config.dataset)}/{config.model.name}/beta{beta:g}"


def tags(config: RunConfig, beta: float) -> list[str]:
    """Words to filter runs by."""
    data = config.dataset
    words = (
        dataset_name(data),
        data.name,
        dataset_category(data),
        data.domain,
        config.model.name,
        f"beta={beta:g}",
    )
    return list(dict.fromkeys(str(word)[:TAG_LENGTH] for word in words if word))


def metric_key(part: str, predictor: str, metric: str) -> str:
    """part: `val`, all validation images; `test`; or `monitor`, a look at a few validation images while training."""
    return f"{part}/{predictor}/{metric}"


def goal(metric: str) -> str:
    """`max` or `min`, whichever is better."""
    return "min" if metric in LOWER_IS_BETTER else "max"


def summary_key(part: str, predictor: str, metric: str) -> str:
    """Where W&B's summary of a run holds a metric."""
    return f"{metric_key(part, predictor, metric)}.{goal(metric)}"


def named(metrics: Mapping[str, float]) -> dict[str, float]:
    """What a trainer logs, by the names here: `val/<predictor>/<metric>` of a look while training becomes `monitor/…`."""
    return {
        f"monitor/{key.partition('/')[2]}" if key.startswith("val/") and key.count("/") > 1 else key: value
        for key, value in metrics.items()
    }


def goals(keys: Iterable[str]) -> dict[str, str | None]:
    """`max`, `min` or None, for neither, of logged keys."""
    return {key: TRAINING.get(key) if key.count("/") < 2 else goal(key.rpartition("/")[2]) for key in keys}
