"""What each variant of the VAE changes, against closed forms."""

import math
import re
import sys

import pytest
import torch
from checkout import ROOT

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models import AE, CEVAE, BetaVAE
from anomaly_bench.models.corruption import Corruption
from anomaly_bench.models.variants import cyclical, warmup

SMALL = {"latent": 5, "channels": (4, 8)}
SHAPE = (1, 16, 16)


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_normalised_beta_is_in_units_of_latent_over_input_size():
    model = BetaVAE((3, 16, 16), beta=0.5, normalised=True, **SMALL)
    assert model.beta == pytest.approx(0.5 * 3 * 16 * 16 / 5)
    spatial = BetaVAE((3, 16, 16), beta=0.5, normalised=True, spatial=True, **SMALL)
    assert spatial.beta == pytest.approx(0.5 * 3 * 16 * 16 / (5 * 4 * 4))


def test_schedules_against_their_closed_forms():
    assert [warmup(step, 20) for step in (0, 5, 20, 100)] == [0, 0.25, 1, 1]
    assert warmup(0, 0) == 1
    # M = 2 cycles of 8 steps, R = 0.5: Fu et al. 2019, equations 6 and 7
    assert [cyclical(step, 8, 2, 0.5) for step in range(17)] == [*[0, 0.25, 0.5, 0.75, 1, 1, 1, 1] * 2, 1]
    assert cyclical(3, 8, 2, 1.0) == 3 / 8


def scheduled(monkeypatch: pytest.MonkeyPatch, step: int, batches: float = 10, every: int = 1, **arguments) -> BetaVAE:
    class Trainer:
        global_step, num_training_batches, max_epochs, accumulate_grad_batches = step, batches, 30, every

    monkeypatch.setattr(BetaVAE, "trainer", Trainer)
    return BetaVAE(SHAPE, beta=8.0, **arguments, **SMALL)


@pytest.mark.parametrize(("step", "beta"), [(0, 0.0), (5, 2.0), (20, 8.0), (100, 8.0)])
def test_warm_up_grows_linearly_to_all_of_beta(monkeypatch, step, beta):
    model = scheduled(monkeypatch, step, warmup_epochs=2)
    assert model.training_beta() == beta
    assert model.beta == 8.0


def test_a_schedule_counts_the_steps_of_the_optimizer(monkeypatch):
    model = scheduled(monkeypatch, 3, every=4, warmup_epochs=2)  # three steps an epoch, the last of two batches
    assert model.training_beta() == 4.0
    with pytest.raises(ConfigError, match=r"model\.schedule=warmup: expected an epoch with an end"):
        scheduled(monkeypatch, 3, batches=float("inf"), warmup_epochs=2).training_beta()


@pytest.mark.parametrize(("step", "beta"), [(0, 0.0), (5, 2.0), (10, 4.0), (20, 8.0), (35, 8.0), (40, 0.0), (80, 8.0)])
def test_cycles_start_again_and_end_at_all_of_beta(monkeypatch, step, beta):
    model = scheduled(monkeypatch, step, schedule="cyclical", cycles=2, cycle_epochs=4)
    assert model.training_beta() == beta
    assert model.penalty(torch.tensor(3.0)) == 24.0


@pytest.mark.parametrize(("step", "capacity"), [(0, 0.0), (5, 2.5), (20, 10.0), (100, 10.0)])
def test_capacity_is_the_distance_of_each_kl_from_a_growing_target(monkeypatch, step, capacity):
    model = scheduled(monkeypatch, step, schedule="capacity", warmup_epochs=2, capacity=10.0)
    kl = torch.tensor([1.0, 4.0, 25.0])
    assert torch.allclose(model.training_penalty(kl), 8 * (kl - capacity).abs())
    assert torch.allclose(model.penalty(kl), 8 * (kl - 10).abs())
    assert model.beta == model.training_beta() == 8.0


def test_a_schedule_of_ones_own_is_a_share_of_beta_by_the_epochs_trained(monkeypatch, tmp_path):
    (code,) = re.findall(r"```python\n(# my_schedules.*?)```", (ROOT / "docs/models.md").read_text(), re.DOTALL)
    (tmp_path / "my_schedules.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for step, beta in [(0, 0.0), (50, 0.0), (100, 8 * (0.5 - 0.5 * math.cos(math.pi / 4))), (150, 4.0), (300, 8.0)]:
        model = scheduled(monkeypatch, step, schedule="my_schedules.late_cosine")
        assert model.training_beta() == pytest.approx(beta)
        assert model.penalty(torch.tensor(3.0)) == 24.0
    asked = []
    model = scheduled(monkeypatch, 25, schedule=lambda *given: asked.append(given) or 0.5)
    assert model.training_penalty(torch.tensor(3.0)) == 12.0
    assert asked == [(0.0, 10), (2.5, 30)]
    sys.modules.pop("my_schedules", None)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("math.nothing", r"=math\.nothing: .*has no attribute 'nothing'.*PYTHONPATH"),
        ("math.pi", r"=math\.pi: called with \(0, 10\): TypeError: 'float' object is not callable"),
        (
            lambda epoch, epochs: -1.0,
            r"=.*<lambda>: called with \(0, 10\), it gives -1, expected a finite share of beta",
        ),
        (lambda epoch, epochs: math.inf, r"it gives inf, expected"),
        (lambda epoch, epochs: math.nan, r"it gives nan, expected"),
        (lambda epoch, epochs: "all", r"ValueError: could not convert string to float"),
        (lambda epoch: 1.0, r"TypeError: .*positional argument"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said_by_the_key(schedule, message):
    with pytest.raises(ConfigError, match=rf"^model\.schedule.*{message}"):
        BetaVAE(SHAPE, schedule=schedule, **SMALL)


def test_a_schedule_that_goes_wrong_in_training_says_when(monkeypatch):
    model = scheduled(monkeypatch, 25, schedule=lambda epoch, epochs: 1 - epoch)
    with pytest.raises(ConfigError, match=r"called with \(2\.5, 30\), it gives -1\.5"):
        model.training_beta()


def test_an_autoencoder_is_deterministic_and_has_no_kl():
    model = AE(SHAPE, variance="fixed", **SMALL)
    image = images().requires_grad_(True)
    (rec, kl), (again, _), (mean, _) = (model.terms(image, sample=sample) for sample in (True, True, False))
    assert torch.equal(rec, again)
    assert torch.equal(rec, mean)
    assert torch.equal(kl, torch.zeros(6))
    assert torch.equal(torch.autograd.grad(kl.sum(), image)[0], torch.zeros_like(image))
    terms = model.training_terms(image)
    assert torch.equal(terms["loss"], terms["rec"])
    assert model.beta == 0
    expected = (image - model.decode(model.encode(image)[0])).square().sum((1, 2, 3)) / (2 * 0.1**2)
    assert torch.allclose(rec - 16 * 16 * (math.log(0.1) + 0.5 * math.log(2 * math.pi)), expected, rtol=1e-4)


def test_the_loss_of_the_cevae_by_hand():
    torch.manual_seed(0)
    model = CEVAE(SHAPE, beta=3.0, context_weight=0.5, masks=2, variance="fixed", **SMALL)
    torch.manual_seed(5)
    terms = model.training_terms(images())
    torch.manual_seed(5)
    mean, logvar = model.encoder(images())
    sampled = model.decoder(mean + torch.randn_like(mean) * logvar.exp().sqrt())
    masked = Corruption(0.0, 2, 0.5)(images())
    filled = model.decoder(model.encoder(masked)[0])

    def squared(reconstruction):
        constant = 16 * 16 * (math.log(0.1) + 0.5 * math.log(2 * math.pi))
        return 50 * (images() - reconstruction).square().sum((1, 2, 3)) + constant

    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)
    assert not torch.equal(masked, images())
    assert torch.allclose(terms["context"], squared(filled), rtol=1e-4)
    assert torch.allclose(terms["loss"], squared(sampled) + 3 * kl + 0.5 * squared(filled), rtol=1e-4)


def test_a_cevae_without_anything_to_fill_in_is_refused():
    with pytest.raises(ConfigError, match=r"model\.masks=0, model\.noise=0"):
        CEVAE(SHAPE, masks=0, **SMALL)
    with pytest.raises(ConfigError, match=r"model\.context_weight=0"):
        CEVAE(SHAPE, context_weight=0.0, **SMALL)
