"""Maps do not depend on how a model was trained or laid out in memory: full precision, any layout."""

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from small_vae import SHAPE, blobs, evidence_of, images, maps, trained

from anomaly_bench.config.load import load_config
from anomaly_bench.models import BetaVAE
from anomaly_bench.predictors import build_suite
from anomaly_bench.predictors.evidence import frozen

TOLERANCE = {False: 1e-4, True: 1e-2}  # of a map's range; an iterative one adds up the rounding of its steps
SUITE = build_suite(load_config(["predictors=all"]).predictors)


@pytest.mark.parametrize("network", ["conv", "residual"])
def test_maps_in_channels_last_are_those_of_contiguous_memory_up_to_rounding(network):
    torch.manual_seed(0)
    plain = BetaVAE(SHAPE, latent=8, channels=(8, 8), network=network).eval()
    last = BetaVAE(SHAPE, latent=8, channels=(8, 8), network=network, channels_last=True).eval()
    last.load_state_dict(plain.state_dict())
    batch = blobs(images(3))
    for name, predictor in SUITE.single.items():
        if predictor.iterative:
            predictor = replace(predictor, iterations=5)  # later, rounding decides which steps are taken back
        expected, found = maps(plain, batch, predictor), maps(last, batch, predictor)
        assert (found - expected).abs().max() <= TOLERANCE[predictor.iterative] * (expected.max() - expected.min()), (
            name
        )


def test_maps_are_made_in_full_precision_even_under_autocast():
    batch = images(2)
    half = trained().encode(batch)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(trained().encode(batch)[0].float(), half)
        under = {name: maps(trained(), batch, predictor) for name, predictor in SUITE.single.items()}
    for name, predictor in SUITE.single.items():
        assert under[name].dtype == torch.float32
        assert torch.equal(under[name], maps(trained(), batch, predictor)), name


def test_a_model_trained_in_half_precision_localizes_in_full():
    found = []

    class Look(pl.Callback):
        def on_validation_batch_end(self, trainer, model, outputs, batch, *_):
            with frozen(model):
                evidence = evidence_of(model, batch["image"])
                found.append({value.dtype for value in (evidence.reconstruction, evidence.grad_kl, evidence.grad_rec)})

    loader = torch.utils.data.DataLoader([{"image": images(4)}], batch_size=None)
    model = BetaVAE(SHAPE, latent=4, channels=(4, 4))
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = pl.Trainer(
        max_epochs=1,
        precision="bf16-mixed",
        callbacks=[Look()],
        enable_model_summary=False,
        inference_mode=False,
        num_sanity_val_steps=0,
        **settings,
    )
    trainer.fit(model, loader, loader)
    trainer.validate(model, loader, verbose=False)
    assert found == [{torch.float32}] * 2
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
