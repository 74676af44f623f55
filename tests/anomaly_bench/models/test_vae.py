import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.models import AE, CEVAE, NETWORKS, VAE, BetaVAE
from anomaly_bench.models.epoch import ActiveUnits
from anomaly_bench.models.networks import NetworkSpec

SMALL = {"latent": 5, "channels": (4, 8)}
SHAPE = (1, 16, 16)


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def fit(model: VAE, epochs: int = 1, callbacks: tuple[pl.Callback, ...] = (), batches=None, **settings) -> pl.Trainer:
    loader = torch.utils.data.DataLoader(batches or [{"image": images()}, {"image": images()}], batch_size=None)
    settings |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=epochs, enable_model_summary=False, callbacks=[*callbacks], **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?!(no )?posterior collapse)")
        warnings.filterwarnings("always", "(no )?posterior collapse")
        trainer.fit(model, loader, loader)
    return trainer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": 0.0}, r"model\.beta=0\.0: expected a number greater than 0"),
        ({"beta": -1.0}, r"model\.beta=-1\.0"),
        ({"beta": float("nan")}, r"model\.beta=nan"),
        ({"latent": 0}, r"model\.latent=0"),
        ({"channels": ()}, r"model\.channels=\[\]"),
        ({"warmup_epochs": -1}, r"model\.warmup_epochs=-1"),
        ({"schedule": "cosine"}, r"model\.schedule=cosine: expected one of warmup, cyclical, capacity"),
        ({"cycles": 0}, r"model\.cycles=0"),
        ({"cycle_epochs": 0}, r"model\.cycle_epochs=0"),
        ({"ramp": 0.0}, r"model\.ramp=0\.0"),
        ({"capacity": -1.0}, r"model\.capacity=-1\.0"),
        ({"noise": -1.0}, r"model\.noise=-1\.0"),
        ({"masks": -1}, r"model\.masks=-1"),
        ({"mask_size": 2.0}, r"model\.mask_size=2\.0"),
    ],
)
def test_impossible_values_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        BetaVAE(SHAPE, **{"channels": (4, 8), **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (32, 32)}, r"shape=\(32, 32\)\): expected \(C, H, W\) of images, or \(C, D, H, W\)"),
        ({"shape": (0, 32, 32)}, r"shape=\(0, 32, 32\)\): expected \(C, H, W\) .* at least 1 each"),
        ({"shape": (1.0, 32, 32)}, r"shape=\(1\.0, 32, 32\)\): expected Sequence\[int\]"),
        ({"shape": 32}, r"shape=32\): expected Sequence\[int\]"),
        ({"latent": 2.5}, r"latent=2\.5\): expected int"),
        ({"latent": True}, r"latent=True\): expected int"),
        ({"channels": 16}, r"channels=16\): expected Sequence\[int\] \| None"),
        ({"channels": "16"}, r"channels='16'\): expected Sequence\[int\] \| None"),
        ({"spatial": "yes"}, r"spatial='yes'\): expected bool"),
        ({"network": 3}, r"network=3\): expected str \| Network"),
        ({"likelihood": math.sqrt}, r"likelihood=<built-in function sqrt>\): expected str \| type\[Likelihood\]"),
        ({"lr": "fast"}, r"lr='fast'\): expected float \| None"),
        ({"beta": "4"}, r"beta='4'\): expected float"),
        ({"warmup_epochs": 1.5}, r"warmup_epochs=1\.5\): expected int"),
        ({"context_weight": None}, r"context_weight=None\): expected float"),
        ({"masks": "3"}, r"masks='3'\): expected int"),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_argument_in_one_line(arguments, message):
    with pytest.raises(ConfigError, match=rf"^CEVAE\({message}") as raised:
        CEVAE(**{"shape": SHAPE, "channels": (4, 8), **arguments})
    assert "\n" not in str(raised.value)


def test_a_shape_with_the_channels_last_is_asked_about_where_no_network_takes_it():
    with pytest.raises(
        ConfigError, match=r"^shape=\(32, 32, 3\): expected \(C, H, W\), .* did you mean \(3, 32, 32\)\?"
    ):
        BetaVAE((32, 32, 3))
    with pytest.raises(ConfigError, match=r"^dataset\.size=\[30, 32\]"):
        BetaVAE((1, 30, 32))
    assert BetaVAE((8, 16, 4), **SMALL).latent == 5


def test_sizes_and_numbers_of_torch_and_numpy_are_as_good_as_pythons():
    torch.manual_seed(0)
    plain = BetaVAE(SHAPE, beta=2.0, latent=5, channels=(4, 8))
    torch.manual_seed(0)
    sizes = {"latent": np.int64(5), "channels": [np.int32(4), 8]}
    other = BetaVAE(images().shape[1:], beta=np.float32(2), normalised=np.bool_(False), **sizes)
    assert all(map(torch.equal, plain.parameters(), other.parameters()))
    assert other.beta == 2
    assert BetaVAE([*SHAPE], beta=4, **SMALL).shape == SHAPE


def loss_of(cls, **arguments):
    torch.manual_seed(0)
    model = cls(SHAPE, **SMALL, **arguments)
    torch.manual_seed(1)
    terms = model.training_terms(images())
    return terms["loss"], terms["rec"], terms["kl"]


def test_beta_one_is_the_vae_to_the_last_bit():
    assert torch.equal(loss_of(BetaVAE, beta=1.0)[0], loss_of(VAE)[0])
    torch.manual_seed(0)
    vae = VAE(SHAPE, **SMALL)
    torch.manual_seed(0)
    beta_vae = BetaVAE(SHAPE, beta=1.0, **SMALL)
    for model in (vae, beta_vae):
        torch.manual_seed(2)
        fit(model)
    assert all(map(torch.equal, vae.parameters(), beta_vae.parameters()))


def test_the_loss_is_rec_plus_beta_kl():
    loss, rec, kl = loss_of(BetaVAE, beta=7.0)
    assert torch.allclose(loss, rec + 7 * kl)


def test_the_deterministic_terms_use_the_posterior_mean():
    model = VAE(SHAPE, **SMALL).eval()
    rec, _ = model.terms(images(), sample=False)
    assert torch.allclose(rec, model.likelihood.nll(images(), model.decode(model.encode(images())[0])))
    assert not torch.allclose(rec, model.terms(images(), sample=True)[0])


def test_a_denoising_model_sees_noise_and_is_judged_by_the_clean_image():
    seen, target = [], []
    model = VAE(SHAPE, noise=0.3, **SMALL)
    model.encoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    nll = model.likelihood.nll
    model.likelihood.nll = lambda image, *rest: target.append(image) or nll(image, *rest)
    model.training_terms(images(200))
    model.terms(images(), sample=False)
    assert (seen[0] - images(200)).std().item() == pytest.approx(0.3, rel=0.02)
    assert torch.equal(target[0], images(200))
    assert torch.equal(seen[1], images())


def test_active_units_against_the_variance_of_all_means():
    spread = torch.tensor([0.0, 0.09, 0.11, 3.0])
    means = 5 + spread * torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    units = ActiveUnits()
    for part in means.split(300):
        units.update(part)
    assert units.compute() == int((means.var(0, correction=0) > 0.01).sum()) == 2
    assert ActiveUnits().compute() == 0


def test_training_logs_the_terms_beta_and_active_units():
    model = BetaVAE(SHAPE, warmup_epochs=4, **SMALL)
    logged = {name: float(value) for name, value in fit(model).callback_metrics.items()}
    assert logged["val/elbo"] == pytest.approx(-(logged["val/rec"] + 4 * logged["val/kl"]), rel=1e-5)
    assert logged["train/beta"] == 4 * 2 / 8
    with torch.no_grad():
        variance = model.eval().encode(images())[0].var(0, correction=0)
    assert logged["val/active_units"] == (variance > 0.01).sum()


@pytest.mark.parametrize(("cls", "weight", "told"), [(VAE, 0.0, 1), (VAE, 10.0, 0), (AE, 0.0, 0)])
def test_a_collapsed_posterior_is_told_once(recwarn, cls, weight, told):
    model = cls(SHAPE, lr=1e-9, **SMALL)
    with torch.no_grad():
        model.encoder.posterior.weight.mul_(weight)
    trainer = fit(model, epochs=12)
    assert (trainer.callback_metrics["val/active_units"] == 0) == (weight == 0)
    messages = [str(warning.message) for warning in recwarn if "posterior collapse" in str(warning.message)]
    assert len(messages) == told
    assert all("lower model.beta" in message for message in messages)


def test_a_collapse_that_has_passed_is_withdrawn(recwarn):
    model = VAE(SHAPE, **SMALL)
    with torch.no_grad():
        model.encoder.posterior.weight.mul_(1e-6)
    weight = model.encoder.posterior.weight.detach().clone()

    class Awakens(pl.Callback):
        def on_validation_start(self, trainer, module):
            factor = 1.0 if trainer.current_epoch < 6 else 1e7
            with torch.no_grad():
                module.encoder.posterior.weight.copy_(factor * weight)

    fit(model, epochs=9, callbacks=[Awakens()])
    messages = [str(warning.message) for warning in recwarn if "posterior collapse" in str(warning.message)]
    assert [message.partition(":")[0] for message in messages] == [
        "posterior collapse",
        "no posterior collapse any more",
    ]
    assert messages[1].endswith(f"of {SMALL['latent']} latent units depend on the image")


def test_the_elbo_is_that_of_samples_which_every_epoch_shares():
    model, settings = VAE(SHAPE, lr=1e-9, variance="fixed", **SMALL), []

    class Kept(pl.Callback):
        def on_validation_end(self, trainer, module):
            settings.append({key: float(value) for key, value in trainer.callback_metrics.items()})

    fit(model, epochs=2, callbacks=[Kept()])
    assert settings[0]["val/elbo"] == pytest.approx(settings[1]["val/elbo"], rel=1e-4)
    assert settings[0]["val/elbo"] < settings[0]["val/elbo_mean"]
    assert settings[0]["val/elbo"] == pytest.approx(-settings[0]["val/rec"] - settings[0]["val/kl"], rel=1e-6)


def linear(spec: NetworkSpec) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Affine maps both ways, and a posterior variance that is the same for every image."""
    size = math.prod(spec.shape)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.nn.Linear(size, spec.latent)
            self.logvar = torch.nn.Parameter(torch.zeros(spec.latent))

        def forward(self, image):
            mean = self.mean(image.flatten(1))
            return mean, self.logvar.expand_as(mean)

    return Encoder(), torch.nn.Sequential(torch.nn.Linear(spec.latent, size), torch.nn.Unflatten(1, spec.shape))


@pytest.mark.slow
def test_a_linear_vae_finds_probabilistic_pca(monkeypatch):
    """Its global optimum is that of pPCA (Tipping & Bishop 1999), where the ELBO is the likelihood (Lucas et al. 2019)."""
    monkeypatch.setitem(NETWORKS, "linear", linear)
    torch.manual_seed(0)
    size, latent, count = 12, 2, 1000
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]
    deviations = torch.tensor([2.0, 1.2, *[0.3] * (size - latent)], dtype=torch.float64)
    data = torch.randn(count, size, dtype=torch.float64) * deviations @ basis.T + 0.7
    model = VAE((1, 3, 4), latent=latent, network="linear", variance="scalar", sigma=1.0).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    image = data.view(count, 1, 3, 4)
    for _ in range(1500):
        optimizer.zero_grad()
        model.training_terms(image)["loss"].mean().backward()
        optimizer.step()
        schedule.step()
    covariance = torch.cov(data.T, correction=0)
    values, vectors = torch.linalg.eigh(covariance)
    learned = torch.linalg.qr(model.decoder[0].weight.detach())[0]
    cosines = torch.linalg.svdvals(learned.T @ vectors[:, -latent:])
    assert cosines.min() > 0.999
    noise = values[:-latent].mean()
    assert model.likelihood.sigma == pytest.approx(noise.sqrt().item(), rel=0.01)
    marginal = vectors[:, -latent:] @ torch.diag(values[-latent:] - noise) @ vectors[:, -latent:].T
    exact = torch.distributions.MultivariateNormal(data.mean(0), marginal + noise * torch.eye(size).double())
    with torch.no_grad():
        elbo = -torch.stack([model.training_terms(image)["loss"].mean() for _ in range(50)]).mean()
    assert elbo.item() == pytest.approx(exact.log_prob(data).mean().item(), abs=0.05)


def saved(model: VAE, path: Path) -> Path:
    fit(model).save_checkpoint(path, weights_only=True)
    return path


@pytest.mark.parametrize(("made", "other"), [(BetaVAE, AE), (BetaVAE, VAE), (CEVAE, VAE), (AE, VAE)])
def test_a_checkpoint_is_refused_by_another_class_than_its_own(made, other, tmp_path):
    path, own = saved(made(SHAPE, **SMALL), tmp_path / "model.ckpt"), made.__name__
    message = rf"^the checkpoint is of {own}, not of {other.__name__}; load it with {own}\.load_from_checkpoint$"
    with pytest.raises(ConfigError, match=message):
        other.load_from_checkpoint(path)
    assert type(made.load_from_checkpoint(path)) is made


def test_an_epoch_logs_its_training_loss_as_the_mean_over_images(monkeypatch):
    model, logged = VAE(shape=(1, 16, 16), latent=2, channels=(4,)), {}
    monkeypatch.setattr(model, "log_dict", logged.update)
    monkeypatch.setattr(model, "log", lambda name, value: None)
    monkeypatch.setattr(
        model, "training_terms", lambda image: {"loss": image.mean((1, 2, 3)), "kl": image.amax((1, 2, 3))}
    )
    for value, images in ((0.0, 3), (1.0, 1)):  # batches of two sizes
        model.training_step({"image": torch.full((images, 1, 16, 16), value)}, 0)
    model.on_train_epoch_end()
    assert {name: float(value) for name, value in logged.items()} == {"train/loss": 0.25, "train/kl": 0.25}


def marked(*anomalous: int) -> torch.Tensor:
    mask = torch.zeros(6, 1, 16, 16)
    mask[[*anomalous], :, 3, 4] = 1
    return mask


def spoilt(value: float) -> torch.Tensor:
    image = images()
    image[2, 0, 5, 6] = value
    return image


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            {"image": images(), "mask": marked(1, 4)},
            r"batch\['mask'\]: 2 of 6 training images are anomalous.* normal images",
        ),
        ({"image": images(), "mask": 0.5 * marked(1)}, r"batch\['mask'\]: expected bool or 0 and 1"),
        ({"image": spoilt(math.nan)}, r"batch\['image'\] holds NaN or infinite values in 1 of 6 training images"),
        ({"image": spoilt(-math.inf)}, r"batch\['image'\] holds NaN or infinite values in 1 of 6"),
    ],
)
def test_what_is_not_to_be_trained_on_is_refused_in_the_first_epoch_of_each_fit(batch, message):
    model = VAE(SHAPE, **SMALL)
    fit(model, batches=[{"image": images(), "mask": marked()}])
    with pytest.raises(ValueError, match=f"^{message}"):
        fit(model, batches=[{"image": images()}, batch])


def test_later_epochs_do_not_look_at_the_images_again(monkeypatch):
    looked = []
    monkeypatch.setattr("anomaly_bench.models.vae.check_training", looked.append)
    fit(VAE(SHAPE, **SMALL), epochs=3)
    assert len(looked) == 2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_images_of_another_precision_than_the_weights_train_validate_and_predict_as_single_ones(precision):
    logged, predicted = [], []
    for dtype in (torch.float32, torch.float64):
        batches = [{"image": images().to(dtype)}]
        torch.manual_seed(0)
        model = VAE(SHAPE, **SMALL)
        trainer = fit(model, epochs=2, batches=batches, precision=precision)
        logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        predicted += trainer.predict(model, torch.utils.data.DataLoader(batches, batch_size=None))
    assert logged[0] == logged[1]
    assert all(torch.equal(predicted[0][name], predicted[1][name]) for name in ("reconstruction", "rec", "kl"))
