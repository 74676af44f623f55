"""The rows of a run are those that its model and data can have."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.localization import Localizer
from anomaly_bench.models import VAE
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.run import run
from anomaly_bench.runs.suite import suite_of_run
from anomaly_bench.sweep.plan import plan
from leaderboard.record import read_result


class Heard(Reporter):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_a_row_that_is_named_is_refused_before_anything_is_done(pictures_run, tmp_path):
    config = load_config([*pictures_run, "model=ae", "predictors.only=[rec_l1,grad_kl]"])
    for way in (lambda: run(config), lambda: plan([config], Reporter())):
        with pytest.raises(ConfigError, match=r"predictors\.only: grad_kl says nothing here: an autoencoder"):
            way()
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_what_is_not_named_is_left_out_with_a_word_and_the_run_loads_as_it_was_tested(pictures_run, tmp_path):
    single = "rec:{use:reconstruction},kl:{use:gradient,of:kl},lifted:{use:reconstruction,error:signed}"
    members = f"predictors.members={{{single},e:{{use:ensemble,members:[rec,kl,lifted]}}}}"
    config, heard = load_config([*pictures_run, "model=ae", "predictors.only=null", members]), Heard()
    result = run(config, heard)
    assert {"rec", "lifted", "e", "ensemble_probit"} < set(result.predictors)
    assert set(result.left_out) == {"kl", "grad_kl", "combination", "grad_elbo", "rec_l1"}
    assert not set(result.left_out) & set(result.predictors)
    assert result.left_out["rec_l1"] == "ranks as rec with this model"
    assert "; e goes without it" in result.left_out["kl"]
    (line,) = (line for line in heard.lines if line.startswith("left out: "))
    assert all(f"{name} ({why})" in line for name, why in result.left_out.items())
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/result.json"))
    assert read_result(folder / "result.json") == result
    localizer, test = Localizer.load(folder), build_data(config, Reporter()).test_dataloader()
    assert localizer.suite.single["rec"].smooth == result.predictors["rec"].map.smooth
    assert localizer.suite.single["lifted"].error == result.predictors["lifted"].map.sign
    labels, scores = [], {name: [] for name in result.predictors}
    for batch in test:
        labels.append(batch["mask"][batch["foreground"]])
        for name, score in localizer(batch["image"], batch["foreground"]).items():
            scores[name].append(score[batch["foreground"]])
    for name, reached in result.predictors.items():
        expected = roc_auc_score(torch.cat(labels), torch.cat(scores[name]))
        assert reached.test["auroc"].low - 1e-9 <= expected <= reached.test["auroc"].high + 1e-9, name


@pytest.mark.slow
def test_the_polarity_of_a_dataset_decides_the_sign_without_a_label(pictures_run):
    row = "predictors.members.rec_signed={use:reconstruction,error:signed,smooth:1.0}"
    config = load_config([*pictures_run, f"+{row}", "predictors.only=[rec_signed]", "dataset.polarity=dark"])
    choice = run(config).predictors["rec_signed"].map
    assert (choice.sign, choice.sign_by, choice.smooth, choice.smooth_by) == ("negative", "dataset", 1.0, "config")


@pytest.mark.parametrize("polarity", ["bright", None])
def test_a_sign_is_known_where_the_data_say_it_of_their_modalities(pictures_run, polarity):
    config = load_config(
        [*pictures_run, "predictors.only=[own]", "+predictors.members.own={use:reconstruction,error:signed}"]
    )
    data = SimpleNamespace(polarity=polarity, indices={"val_anomalous": []})  # as volumes do by dataset.polarities
    model = VAE((3, 16, 16), latent=2, channels=(4,))
    if polarity:
        assert suite_of_run(config, model, data)[0].shown == ("own",)
    else:
        with pytest.raises(ConfigError, match=r"own says nothing here: neither dataset\.polarity"):
            suite_of_run(config, model, data)
