"""The likelihood of docs/models.md in a user's own module: what it can do, and what is said when one is wrong."""

import re
import sys

import pytest
import pytorch_lightning as pl
import torch
from checkout import ROOT
from small_vae import maps

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.models import CEVAE, BetaVAE, Likelihood, build_model
from anomaly_bench.models.likelihoods import gaussian_nll
from anomaly_bench.predictors.base import build_predictor

SHAPE, SMALL = (2, 16, 16), {"latent": 3, "channels": (4, 8)}
(CODE,) = re.findall(r"```python\n(# my_likelihoods.*?)```", (ROOT / "docs/models.md").read_text(), re.DOTALL)
WRONG = """
class Mean(StudentT):
    def neg_log_density(self, *given):
        return super().neg_log_density(*given).mean()
class Pixels(StudentT):
    def neg_log_density(self, image, reconstruction, log_sigma):
        return (image - reconstruction).square()
class Infinite(StudentT):
    def neg_log_density(self, *given):
        return super().neg_log_density(*given) / 0
class Abstract(Likelihood):
    pass
class Halved(StudentT):
    outputs = 2
class NoVariance(StudentT):
    def variance_at(self, reconstruction, log_sigma=None):
        return 0 * reconstruction
class Arguments(StudentT):
    def __init__(self, nu):
        super().__init__()
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "my_likelihoods.py").write_text(CODE + WRONG)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_likelihoods", raising=False)
    yield
    sys.modules.pop("my_likelihoods", None)


def batch(count=3):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variance", ["fixed", "scalar", "pixel"])
def test_its_terms_and_variance_are_those_of_torch_distributions(variance):
    model = BetaVAE(SHAPE, likelihood="my_likelihoods.StudentT", sigma=0.3, variance=variance, **SMALL).double().eval()
    image = batch().double()
    reconstruction, log_sigma = model.decode_with_scale(model.encode(image)[0])
    scale = torch.tensor(0.3).double() if log_sigma is None else log_sigma.exp()
    expected = torch.distributions.StudentT(4, reconstruction, scale)
    assert torch.allclose(model.terms(image, sample=False)[0], -expected.log_prob(image).sum((1, 2, 3)), rtol=1e-6)
    assert torch.allclose(model.likelihood.variance_at(reconstruction, log_sigma), expected.variance)
    assert (model.likelihood.sigma is None) == (variance == "pixel")


def test_that_it_was_tried_leaves_nothing_behind():
    assert all(part.training for part in BetaVAE(SHAPE, likelihood="my_likelihoods.StudentT", **SMALL).modules())


@pytest.mark.parametrize(
    "settings",
    [
        {"use": "reconstruction", "error": "weighted"},
        {"use": "gradient"},
        {"use": "projection", "iterations": 3},
        {"use": "restoration", "iterations": 3},
    ],
)
def test_predictors_work_with_it(settings):
    model = BetaVAE(SHAPE, likelihood="my_likelihoods.StudentT", variance="pixel", **SMALL).eval()
    found = maps(model, batch(), build_predictor("own", settings))
    assert found.isfinite().all()
    assert found.std() > 0


def test_weighted_is_the_squared_error_over_its_variance():
    model = BetaVAE(SHAPE, likelihood="my_likelihoods.StudentT", sigma=0.3, **SMALL).eval()
    found = maps(model, batch(), build_predictor("own", {"use": "reconstruction", "error": "weighted", "smooth": 0.0}))
    error = batch() - model.decode(model.encode(batch())[0])
    assert torch.allclose(found, error.square().mean(1, keepdim=True) / (2 * 0.3**2), rtol=1e-4)


@pytest.mark.parametrize("cls", [BetaVAE, CEVAE])
def test_it_learns(cls):
    torch.manual_seed(0)
    model = cls(SHAPE, likelihood="my_likelihoods.StudentT", variance="scalar", **SMALL)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    model.training_beta = lambda: 1.0
    for _ in range(40):
        optimizer.zero_grad()
        loss = model.training_terms(batch())["loss"].mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[5]
    assert model.likelihood.sigma != pytest.approx(0.1)


def test_a_checkpoint_of_the_class_holds_its_path_and_loads(tmp_path):
    from my_likelihoods import StudentT

    model = BetaVAE(SHAPE, likelihood=StudentT, schedule=ramp, **SMALL)
    assert model.hparams["likelihood"] == "my_likelihoods.StudentT"
    assert model.hparams["schedule"] == f"{__name__}.ramp"
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(model, torch.utils.data.DataLoader([{"image": batch()}], batch_size=None))
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    loaded = BetaVAE.load_from_checkpoint(tmp_path / "model.ckpt")
    assert type(loaded.likelihood) is StudentT
    assert loaded.schedule == f"{__name__}.ramp"
    before, after = (one.eval().terms(batch(), sample=False)[0] for one in (model, loaded))
    assert torch.equal(before, after)


def ramp(epoch, epochs):
    return min(1.0, epoch / 10)


def test_a_class_that_cannot_be_imported_again_is_not_replaced_by_another_one(tmp_path):
    class Local(Likelihood):
        def neg_log_density(self, image, reconstruction, log_sigma):
            return gaussian_nll(image, reconstruction, log_sigma)

    model = BetaVAE(SHAPE, likelihood=Local, **SMALL)
    trainer = pl.Trainer(max_epochs=0, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(model, torch.utils.data.DataLoader([{"image": batch()}], batch_size=None))
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    with pytest.raises(ConfigError, match=r"model\.likelihood=.*<locals>\.Local: "):
        BetaVAE.load_from_checkpoint(tmp_path / "model.ckpt")
    assert type(BetaVAE.load_from_checkpoint(tmp_path / "model.ckpt", likelihood=Local).likelihood) is Local


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        ("my_likelihoods.Missing", r"=my_likelihoods\.Missing: .*has no attribute 'Missing'.*PYTHONPATH"),
        ("my_likelihoods.math", r"=my_likelihoods\.math: expected a subclass of anomaly_bench\.models\.Likelihood"),
        ("student", r"=student: expected one of gaussian, laplace, bernoulli, or package\.module\.Name"),
        (
            "my_likelihoods.Mean",
            r"=my_likelihoods\.Mean: the nll of two grey images is of shape \[\], expected \(B,\): \[2\]",
        ),
        (
            "my_likelihoods.Pixels",
            r"=my_likelihoods\.Pixels: the nll of two grey images is of shape \[2, 2, 16, 16\], expected \(B,\): \[2\]",
        ),
        ("my_likelihoods.Infinite", r"=my_likelihoods\.Infinite: the nll of two grey images is \[inf, inf\]"),
        ("my_likelihoods.Abstract", r"=my_likelihoods\.Abstract: TypeError: .*abstract.*neg_log_density"),
        ("my_likelihoods.Halved", r"=my_likelihoods\.Halved: of a decoder's \[4, 16, 16\] `split` makes \[4, 16, 16\]"),
        ("my_likelihoods.NoVariance", r"=my_likelihoods\.NoVariance: `variance_at` gives \[2, 2, 16, 16\], least 0"),
        ("my_likelihoods.Arguments", r"=my_likelihoods\.Arguments: TypeError: .*unexpected keyword argument 'sigma'"),
    ],
)
def test_what_is_wrong_with_one_is_said_by_the_key(likelihood, message):
    with pytest.raises(ConfigError, match=rf"^model\.likelihood{message}"):
        BetaVAE(SHAPE, likelihood=likelihood, **SMALL)


def test_a_scale_in_closed_form_needs_one():
    with pytest.raises(ConfigError, match=r"model\.variance=optimal: expected one of fixed, scalar, pixel .* StudentT"):
        BetaVAE(SHAPE, likelihood="my_likelihoods.StudentT", variance="optimal", **SMALL)


def test_a_config_names_it():
    config = load_config(["model=beta_vae", "model.likelihood=my_likelihoods.StudentT", "model.variance=scalar"])
    assert type(build_model(config.model, SHAPE).likelihood).__name__ == "StudentT"
