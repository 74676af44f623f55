"""Two real processes against one: the localization of a suite with an ensemble is the same, bit for bit."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from msgspec.structs import replace
from omegaconf import OmegaConf

from anomaly_bench.config.schema import LocalizationConfig, PredictorsConfig
from anomaly_bench.localization import LocalizationCallback
from anomaly_bench.metrics import region_weight
from anomaly_bench.models import BetaVAE
from anomaly_bench.pictures.choice import Cases
from anomaly_bench.predictors import build_suite

pytestmark = pytest.mark.slow

MEMBERS = {
    "a": {"use": "intensity"},
    "b": {"use": "reconstruction"},
    "e": {"use": "ensemble", "members": ["a", "b"]},
    "s": {"use": "subset_search", "members": ["a", "b"]},
}
OWN = {"half": lambda curve: curve.fpr_at_tpr(0.5), "accuracy": "torchmetrics.classification.BinaryAccuracy"}
SITES = [{"site": site} for site in "aabb"]


def batch(at: int, anomalous: bool) -> dict[str, torch.Tensor]:
    """Three images of two subjects, the same ones for the same arguments; the last two may be anomalous."""
    generator = torch.Generator().manual_seed(10 * at + anomalous)
    mask = torch.zeros(3, 1, 32, 32, dtype=torch.bool)
    mask[1:, :, 8 + at : 12 + at, 5:9] = anomalous
    return {
        "image": torch.rand(3, 2, 32, 32, generator=generator) + 0.3 * mask,
        "mask": mask,
        "foreground": torch.ones_like(mask),
        "region_weight": region_weight(mask),
        "subject": torch.tensor([at % 4, at % 4, (at + 1) % 4]),
        "slice": torch.arange(3),
    }


def made() -> tuple[LocalizationCallback, Any, BetaVAE]:
    """A callback, a trainer as far as it asks one, and a model."""
    torch.manual_seed(0)
    model = BetaVAE((2, 32, 32), latent=8, channels=(8, 8), beta=1.0, lr=3e-3, sigma=0.1).eval()
    model.log_dict = lambda values: None  # type: ignore[method-assign, assignment]
    suite = build_suite(PredictorsConfig(members=OmegaConf.create(MEMBERS)))
    config, cases = LocalizationConfig(bits=16, resamples=50, metrics=OWN), Cases(0, torch.zeros(0))
    callback = LocalizationCallback(suite, config, list("wxyz"), SITES, Path(), cases)
    validation = [[batch(at, anomalous) for at in range(5)] for anomalous in (False, True)]
    data = SimpleNamespace(val_dataloader=lambda: validation)
    return callback, SimpleNamespace(datamodule=data, is_global_zero=True), model


def outcome(callback: LocalizationCallback, trainer: Any, model: BetaVAE, batches: Sequence[int]) -> tuple[Any, ...]:
    """Results without seconds, and thresholds, of a test on these batches, calibrated on the same images whoever counts."""
    callback.on_test_start(trainer, model)
    for at in batches:
        callback.on_test_batch_end(trainer, model, None, batch(at + 5, True), at)
    callback.on_test_epoch_end(trainer, model)
    results = {name: replace(one, seconds_per_image=0.0) for name, one in callback.results().items()}
    return results, callback.validation.thresholds


def localized(batches: Sequence[int]) -> tuple[Any, ...]:
    return outcome(*made(), batches)


def test_a_second_test_with_one_callback_is_as_the_first() -> None:
    callback, trainer, model = made()
    first = outcome(callback, trainer, model, range(5))
    assert first[0]["s"].choice is not None
    assert outcome(callback, trainer, model, range(5)) == first


def localized_by_two(rank: int, store: str) -> tuple[Any, ...]:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        return localized([1, 3] if rank else [0, 2, 4])
    finally:
        dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_two_processes_localize_as_one(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    command = [sys.executable, "-W", "ignore", __file__, store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
        mine = localized_by_two(0, store)
        said = other.communicate(timeout=60)
    whole = localized(range(5))
    assert said[0] == "equal\n", said
    assert mine == whole
    assert set(whole[0]) == set(MEMBERS)
    assert whole[0]["e"].test["dice"].value > 0
    assert all(whole[0]["e"].test[name].value > 0 for name in OWN)


if __name__ == "__main__":
    torch.set_num_threads(1)  # as in the other process: sums differ in their last digits otherwise
    assert localized_by_two(1, sys.argv[1]) == localized(range(5))
    print("equal")
