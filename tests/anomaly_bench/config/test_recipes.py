"""The experiments that reproduce papers: what they span, and that each trains and localizes when it is scaled down."""

import re

import pytest
import pytorch_lightning as pl
import torch
from checkout import ROOT

from anomaly_bench.config.grid import load_grid
from anomaly_bench.models import build_model
from anomaly_bench.predictors import build_suite
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.runs.run import run
from data_modules.base.options.folders import config_dir
from data_modules.transforms.augment import check_augment

TEXTURE = ["dataset=tiny_texture", "dataset.category=null"]
BRAIN = ["dataset=tiny_brain", "dataset.name=tiny_brain"]
HEALTHY = ["dataset.healthy=null", "dataset.modality=[flair]"]
RECIPES = {
    "dehaene_mvtec": (45, TEXTURE, (3, 128, 128)),
    "zimmerer_brats": (3, [*BRAIN, *HEALTHY], (1, 64, 64)),
    "zhou_natural": (45, TEXTURE, (3, 128, 128)),
    "zhou_medical": (9, BRAIN, (1, 64, 64)),
    "vae_settings": (48, BRAIN, (1, 64, 64)),
    "paper": (30, BRAIN, (1, 64, 64)),
    "beta_sweep": (30, BRAIN, (1, 64, 64)),
    "sigma": (18, BRAIN, (1, 64, 64)),
}
SMALL = [
    "trainer.max_epochs=1",
    "trainer.batch_size=8",
    "trainer.accelerator=cpu",
    "localization.resamples=0",
    "seed=0",
]
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_a_step_and_localizes_at_its_own_size(name):
    runs, tiny, shape = RECIPES[name]
    assert len({str(config) for config in load_grid([f"experiment={name}"])}) == runs
    configs = load_grid([f"experiment={name}", *tiny, *SMALL])
    assert {config.dataset.name for config in configs} == {tiny[0].removeprefix("dataset=")}
    config = configs[-1]
    assert config.dataset.size == list(shape[1:])
    check_augment(config.dataset.augment, shape)
    torch.manual_seed(0)
    image = torch.rand(2, *shape)
    model = build_model(config.model, shape)
    decays = {"bergmann": 1e-5, "zimmerer": 0.0}  # Adam's of what they follow; Muon's
    assert model.configure_optimizers().defaults["weight_decay"] == decays.get(config.model.name, 1.0)
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    loader = torch.utils.data.DataLoader([{"image": image}], batch_size=None)
    pl.Trainer(max_steps=1, accelerator="cpu", **QUIET).fit(model, loader)
    assert not torch.equal(torch.nn.utils.parameters_to_vector(model.parameters()), before)
    config.predictors.members = {
        row: settings | ({"iterations": 1} if settings["use"] in ("projection", "restoration") else {})
        for row, settings in config.predictors.members.items()
    }
    suite = build_suite(config.predictors)
    with frozen(model):
        model.rec_levels.fill_(torch.inf)  # those that stop at a level stop at once
        names = [name for name in suite.single if not name.endswith("_signed")]  # whose sign a dataset would say
        maps = suite.maps(Evidence(model, image, torch.ones(2, 1, *shape[1:], dtype=torch.bool)), names)
    assert all(score.isfinite().all() for score, _ in maps.values())


@pytest.mark.slow
def test_a_recipe_runs_from_files_to_a_result(brats_root, cache, tmp_path):
    split = ["dataset.split.val=0.3", "dataset.split.test=0.3", "dataset.split.salt=b", "localization.bits=16"]
    places = [f"dataset.root={brats_root}", f"out={tmp_path / 'runs'}"]
    (config,) = load_grid(["experiment=zimmerer_brats", *places, *split, *HEALTHY, *SMALL])
    found = run(config).predictors
    assert set(found) == set(config.predictors.only)
    assert all(0 <= predictor.test["auroc"].value <= 1 for predictor in found.values())


def test_every_value_of_a_paper_has_its_source_beside_it_and_every_recipe_its_section():
    for name in ("dehaene_mvtec", "zimmerer_brats", "zhou_natural", "zhou_medical"):
        lines = (config_dir() / "experiment" / f"{name}.yaml").read_text().partition("defaults:\n")[2].splitlines()
        values = [line for line in lines if re.match(r"\s*(- |\w[\w.]*: [^#])", line)]
        assert len(values) >= 7
        for line in values:
            assert re.search(r"# .*\[(D|R|B|Z|A|ours)\]", line), line
    docs = (ROOT / "docs" / "recipes.md").read_text()
    assert set(re.findall(r"^## `experiment=(\w+)`", docs, re.MULTILINE)) == set(RECIPES)
    for name, (runs, *_) in RECIPES.items():
        section = docs.partition(f"## `experiment={name}`")[2].partition("\n## ")[0]
        assert f"{runs} runs" in section, name
        assert f"experiment={name}" in section
