"""The verb `config`: what it tells of groups, options and keys, and where it says that there are none."""

import json

import pytest

from anomaly_bench.cli.completers import told_keys
from anomaly_bench.config.load import load_config
from data_modules.base.options.folders import groups, options_of


@pytest.fixture
def told(cli, monkeypatch):
    """What is printed at a width, in words with one blank between."""

    def ask(*arguments, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, err = cli("config", *arguments)
        assert (code, err) == (0, "")
        assert max(map(len, out.splitlines())) <= columns
        return " ".join(out.split())

    return ask


def test_alone_it_lists_every_group_with_its_options_and_the_keys_in_none(told):
    text = told(columns=200)
    for group in groups():
        assert f"{group}= {options_of(group)[0]} " in text
    assert "beta_vae beta-VAE (Higgins et al. 2017): the VAE with the KL term times beta ce_vae" in text
    assert "seed=0 decides the network's start, the order of batches and the latent samples integer ≥ 0" in text
    assert "localization.fpr=0.01" in text


def test_of_a_group_every_key_with_its_default_range_meaning_and_the_kinds_that_have_it(told):
    text = told("model", columns=200)
    every, _, rest = text.partition("with kind beta_vae or ce_vae")
    assert "model.lr=null learning rate; null: 0.003 with muon, 0.001 with adam number ≥ 1e-09 or null" in every
    assert "model.beta=4.0 > 0. What counts" in rest
    assert "model.masks=3" in rest.partition("with kind ce_vae")[2]
    assert "trainer.patience=5" in told("trainer", columns=60)
    assert "dataset.split.val=0.15" in told("dataset.split")
    assert "dataset.plane" not in told("dataset.split")
    assert told("experiment").startswith("experiment= beta_sweep What the weight of the KL term does")


@pytest.mark.slow
def test_of_an_option_the_values_that_a_run_with_it_has(told, cli):
    text = told("model=bergmann", columns=120)
    assert "model.latent=100 as reimplementations of Bergmann et al. 2018 have it" in text  # of its own YAML
    assert "model.sigma=0.1 standard deviation" in text  # of the one below
    assert "model.beta=1.0" in text
    values = {row["name"]: row["value"] for row in json.loads(cli("config", "dataset=brats", "--json")[1])["values"]}
    config = load_config(["dataset=brats"]).dataset
    assert values["dataset.slice_step"] == config.slice_step == 2
    assert values["dataset.split.group"] == config.split.group
    assert set(values["dataset.layouts"]) == set(config.layouts)
    assert "dataset.color" not in values
    text = told("experiment=beta_sweep", columns=200)
    assert "model=beta_vae trainer=short localization.monitor_every=0 no looks while training" in text
    assert "sweep.seed=[0, 1, 2] decides the network's start" in text
    assert "predictors.members.rec_l2={use: reconstruction, error: l2, smooth: null}" in told("predictors=all")


def test_of_a_key_all_that_is_known(told, cli):
    text = told("trainer.patience")
    assert text == (
        "trainer.patience epochs without a better ELBO before training ends, or lr_drops times first goes on at a lower "
        "learning rate takes integer ≥ 1 default 5 else 4 with trainer=short"
    )
    (key,) = json.loads(cli("config", "model.likelihood", "--json")[1])
    assert (key["default"], key["choices"]) == ("gaussian", ["gaussian", "laplace", "bernoulli"])
    (key,) = json.loads(cli("config", "dataset.anomalous", "--json")[1])
    assert (key["default"], key["required"], key["kinds"]) == (None, True, ["pictures"])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("modle", "modle: no such group or key; did you mean model?"),
        ("trainer.patients", "trainer.patients: no such group or key; did you mean trainer.patience?"),
        ("dataset=bratz", "dataset=bratz: there is no such dataset; did you mean brats?"),
        ("modle=vae", "modle=vae: no such group; did you mean model?"),
    ],
)
def test_what_there_is_not_is_said_with_what_is_close(cli, what, message):
    code, out, err = cli("config", what)
    assert (code, out) == (2, "")
    assert message in err


def test_a_config_of_ones_own_is_told_of(told, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text("# Mine: small.\ndefaults: [vae, _self_]\nlatent: 3   # few\n")
    assert "mine Mine: small" in told("--config-dir", str(tmp_path))
    assert "model.latent=3 few" in told("model=mine", "--config-dir", str(tmp_path), columns=300)


def test_a_config_that_is_no_yaml_is_named(cli, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text("# Mine\nlatent: [3\n")
    code, _, err = cli("config", "model", "--config-dir", str(tmp_path))
    assert code == 2
    assert f"{tmp_path}/model/mine.yaml: is no YAML (" in err
    assert len(err.splitlines()) == 1


def test_tab_offers_groups_and_keys_without_an_equals_sign():
    class Parsed:
        config_dir = ()

    assert {"model=", "model", "model.", "localization.fpr"} <= set(told_keys("m", Parsed))
    assert "model.beta" in told_keys("model.b", Parsed)
    assert "model=ae" in told_keys("model=", Parsed)
