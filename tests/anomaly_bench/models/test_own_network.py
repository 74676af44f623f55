"""Networks and models of a user's own package or notebook: what they can do, and what is said when one is wrong."""

import functools
import importlib
import re
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from checkout import ROOT

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.models import NETWORKS, VAE, BetaVAE, build_model

SHAPE = (1, 16, 16)


def images() -> torch.Tensor:
    return torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))


def fit(model: VAE) -> pl.Trainer:
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=1, enable_model_summary=False, **settings)
    trainer.fit(model, torch.utils.data.DataLoader([{"image": images()}], batch_size=None))
    return trainer


WRONG = """

def wrong(spec):
    return my_network(spec)[0], nn.Linear(spec.latent, 3)


def nothing_taken():
    pass


def three(spec):
    return *my_network(spec), 3


def functions(spec):
    return max, min


def attribute(spec):
    return nn.Linear(spec.size, spec.latent)


def wide(spec):
    return my_network(spec)[0], my_network(spec._replace(latent=spec.latent + 1))[1]


def deterministic(spec):
    return nn.Flatten(), my_network(spec)[1]


def dictionary(spec):
    class Decoder(nn.Module):
        def forward(self, latent):
            return {}

    return my_network(spec)[0], Decoder()
"""


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    """A package outside the checkout with the examples of the documentation in it, and a network that does not fit."""
    root = ROOT
    (network,) = re.findall(r"```python\n((?!# my_).*?)```", (root / "docs/models.md").read_text(), re.DOTALL)
    examples = [*re.findall(r"```python\n(.*?)```", (root / "CONTRIBUTING.md").read_text(), re.DOTALL), network]
    assert max(len(example.splitlines()) for example in examples) < 25
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "__init__.py").write_text("\n\n".join(examples) + WRONG)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_package", raising=False)


def test_a_model_and_a_network_of_a_users_own_package(own_package):
    overrides = ["model=vae", "model.use=their_package.MyVAE", "model.options.free=3.0"]
    model = build_model(load_config([*overrides, "model.network=their_package.my_network"]).model, SHAPE)
    assert type(model).__name__ == "MyVAE"
    assert type(model.encoder).__name__ == "Encoder"
    fit(model)
    assert torch.equal(model.penalty(torch.tensor([1.0, 5.0])), torch.tensor([0.0, 2.0]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.use=their_package.Nothing"], r"model\.use=their_package\.Nothing: .*PYTHONPATH"),
        (["model.use=no_such_package.MyVAE"], r"model\.use=no_such_package\.MyVAE: No module named"),
        (["model.use=MyVAE"], r"model\.use=MyVAE: .*expected package\.module\.Name"),
        (["model.use=their_package.Encoder"], r"model\.use=their_package\.Encoder: expected a subclass of"),
        (["model.use=their_package.MyVAE", "model.options.fre=1"], r"model\.options=.*unexpected keyword.*'fre'"),
        (["model.options.latent=3"], r"model\.options=.*multiple values for keyword argument 'latent'"),
        (["model.network=covn"], r"model\.network=covn: expected one of conv, bergmann, .*, conv3d, or"),
        (["model.network=their_package.wrong"], r"model\.network=their_package\.wrong: the decoder gives \[3\]"),
        (["model.network=their_package.nothing"], r"model\.network=their_package\.nothing: .*PYTHONPATH"),
    ],
)
def test_what_cannot_be_a_model_of_ones_own_is_refused_by_name(own_package, overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_model(load_config(["model=vae", *overrides]).model, SHAPE)


FUNCTION = r"expected a function of a NetworkSpec \(shape, outputs, .*\) that gives encoder and decoder"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("three", rf"{FUNCTION}, two torch\.nn\.Module, got Encoder, Sequential, int"),
        ("functions", rf"{FUNCTION}, two torch\.nn\.Module, got builtin_function_or_method, builtin"),
        ("attribute", rf"{FUNCTION}, got AttributeError: 'NetworkSpec' object has no attribute 'size'"),
        ("nothing_taken", rf"{FUNCTION}, got TypeError: nothing_taken\(\) takes 0 positional"),
        ("wide", r"the decoder, given the encoder's latent \[1, 64\], RuntimeError: mat1 and mat2 shapes"),
        ("deterministic", r"the encoder has to give mean and log variance, .*, got Tensor"),
        ("dictionary", r"the decoder gives dict of an image of \[1, 16, 16\], expected \[1, 16, 16\]"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_what_is_wrong_with_a_network_is_said_by_the_key_in_one_line(own_package, name, message, named):
    network = f"their_package.{name}" if named else getattr(importlib.import_module("their_package"), name)
    with pytest.raises(ConfigError, match=rf"^model\.network=their_package\.{name}: {message}") as raised:
        BetaVAE(SHAPE, network=network)
    assert "\n" not in str(raised.value)


def saved(model: VAE, path: Path) -> Path:
    fit(model).save_checkpoint(path, weights_only=True)
    return path


def test_a_checkpoint_of_a_function_as_network_holds_its_path_and_loads(own_package, tmp_path):
    model = BetaVAE(SHAPE, network=importlib.import_module("their_package").my_network, latent=3)
    assert model.hparams["network"] == "their_package.my_network"
    loaded = BetaVAE.load_from_checkpoint(saved(model, tmp_path / "model.ckpt"))
    assert torch.equal(loaded.eval()(images()), model.eval()(images()))


@pytest.mark.parametrize("network", [lambda spec: NETWORKS["conv"](spec), functools.partial(NETWORKS["conv"])])
def test_a_network_without_a_path_has_to_be_given_again_to_load(network, tmp_path):
    model = BetaVAE(SHAPE, network=network, latent=3)
    path = saved(model, tmp_path / "model.ckpt")
    with pytest.raises(ConfigError, match=r"^model\.network=.*<.*>: no name that Python can import.*network=…"):
        BetaVAE.load_from_checkpoint(path)
    loaded = BetaVAE.load_from_checkpoint(path, network=network)
    assert torch.equal(loaded.eval()(images()), model.eval()(images()))
