import pytest
import torch

from anomaly_bench.evidence import Evidence, frozen
from anomaly_bench.models import BetaVAE

SHAPE = (2, 16, 16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BetaVAE(SHAPE, latent=5, channels=(4, 8), beta=3.0).double().eval()


@pytest.fixture
def image():
    return torch.rand(3, *SHAPE, dtype=torch.float64)


def evidence_of(model, image):
    return Evidence(model, image, torch.ones_like(image[:, :1], dtype=torch.bool))


@pytest.mark.parametrize("term", ["rec", "kl"])
def test_gradients_agree_with_finite_differences(model, image, term):
    with frozen(model):
        gradient = getattr(evidence_of(model, image), f"grad_{term}")
    direction = torch.randn_like(image)
    step = 1e-6

    def value(x):
        with frozen(model), torch.no_grad():
            rec, kl = model.terms(x, sample=False)
        return rec if term == "rec" else kl

    numeric = (value(image + step * direction) - value(image - step * direction)) / (2 * step)
    assert torch.allclose((gradient * direction).flatten(1).sum(1), numeric, rtol=1e-5)


def test_the_elbo_gradient_is_that_of_the_whole_loss(model, image):
    with frozen(model):
        evidence = evidence_of(model, image)
        leaf = image.clone().requires_grad_(True)
        rec, kl = model.terms(leaf, sample=False)
        (expected,) = torch.autograd.grad((rec + 3.0 * kl).sum(), leaf)
        assert torch.allclose(evidence.grad_elbo, expected, rtol=1e-9)
        assert torch.allclose(evidence.rec, rec)
        assert torch.allclose(evidence.kl, kl)


def test_everything_costs_one_forward_and_the_kl_gradient_leaves_the_decoder_alone(model, image):
    calls = {"encode": 0, "decode": 0, "decoder backward": 0, "encoder backward": 0}
    model.encoder.register_forward_hook(lambda *_: calls.__setitem__("encode", calls["encode"] + 1))
    model.decoder.register_forward_hook(lambda *_: calls.__setitem__("decode", calls["decode"] + 1))
    last, first = model.decoder.layers[-1], model.encoder.features[0]
    last.register_full_backward_hook(lambda *_: calls.__setitem__("decoder backward", calls["decoder backward"] + 1))
    first.register_full_backward_hook(lambda *_: calls.__setitem__("encoder backward", calls["encoder backward"] + 1))
    with frozen(model):
        evidence = evidence_of(model, image)
        _ = evidence.grad_kl
        assert calls["decode"] == 0
        for name in ("grad_elbo", "reconstruction", "rec", "kl", "posterior", "grad_rec", "grad_kl"):
            getattr(evidence, name)
    assert calls == {"encode": 1, "decode": 1, "decoder backward": 1, "encoder backward": 2}


def test_frozen_leaves_the_model_as_it_was(model, image):
    model.train()
    with frozen(model):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
        _ = evidence_of(model, image).grad_elbo
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_call_is_charged_for_what_it_needs_whoever_asked_first(model, image):
    with frozen(model):
        evidence = evidence_of(model, image)
        _, first = evidence.timed(lambda e: e.grad_elbo)
        _, second = evidence.timed(lambda e: e.grad_elbo)
        _, forward = evidence.timed(lambda e: e.reconstruction)
        needed = sum(
            evidence.spent[name]
            for name in ("leaf", "encode", "decode", "rec", "kl", "grad_rec", "grad_kl", "grad_elbo")
        )
    assert first == pytest.approx(second, rel=0.5, abs=2e-3)
    assert second >= needed
    assert evidence.spent["encode"] + evidence.spent["decode"] <= forward < second
