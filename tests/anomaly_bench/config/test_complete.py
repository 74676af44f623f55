"""What may come next in an override."""

from anomaly_bench.config.complete import completions
from data_modules.base.options.folders import options_of


def test_groups_first_and_their_keys_after_a_dot():
    assert {"dataset=", "seed=", "localization."} <= set(completions(""))
    assert not any(name.startswith("model.") for name in completions(""))
    assert {"model=", "model.", "localization.fpr="} <= set(completions("m"))
    assert "experiment." not in completions("exp")
    assert {"model.beta=", "model.context_weight=", "model.latent="} <= set(completions("model."))
    assert "dataset.split.val=" in completions("dataset.split.v")
    assert len(completions("model.")) == len(set(completions("model.")))
    assert not any("NAME" in name or ".N." in name for name in completions("dataset."))


def test_options_and_values_one_or_several():
    assert completions("dataset=x") == [f"dataset={name}" for name in options_of("dataset")]
    assert "dataset=brats,ixi" in completions("dataset=brats,")
    assert "dataset=brats,brats" not in completions("dataset=brats,")
    assert completions("trainer.compile=") == ["trainer.compile=true", "trainer.compile=false"]
    assert {"trainer.hold_data=true", "trainer.hold_data=null"} <= set(completions("trainer.hold_data="))
    assert completions("model.kind=") == ["model.kind=vae", "model.kind=beta_vae", "model.kind=ce_vae", "model.kind=ae"]
    assert completions("model.latent=") == []
    assert completions("no.such=") == []
    assert completions("no_such.") == []
