import re
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from anomaly_bench.config import config_dir, expand, load_config, to_dict, to_yaml
from anomaly_bench.errors import ConfigError
from anomaly_bench.schema import MODEL_SCHEMAS, LocalizationConfig, RunConfig, TrainerConfig
from data_modules.config import SCHEMAS, LayoutConfig, SplitConfig

PACKAGES = [Path(__file__).parents[2] / name for name in ("anomaly_bench", "data_modules")]
SCHEMA_FILES = ("schema.py", "config.py")

GROUPS = {
    path.name: sorted(file.stem for file in path.glob("*.yaml")) for path in config_dir().iterdir() if path.is_dir()
}


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group, options in GROUPS.items() for option in options]
)
def test_every_shipped_option_composes_and_says_nothing_unknown(group, option):
    config = load_config([f"{group}={option}"])
    assert to_yaml(config)


@pytest.mark.parametrize("option", GROUPS["experiment"])
def test_an_experiment_decides_everything_it_names(option):
    wanted = yaml.safe_load((config_dir() / "experiment" / f"{option}.yaml").read_text())
    config = to_dict(load_config([f"experiment={option}"]))
    for group, values in wanted.items():
        for key, value in values.items() if group != "defaults" else ():
            assert config[group][key] == value, f"{group}.{key}"


def test_every_key_of_every_schema_is_read_somewhere_in_the_code():
    code = "".join(
        path.read_text() for package in PACKAGES for path in package.rglob("*.py") if path.name not in SCHEMA_FILES
    )
    parts = (SplitConfig, LayoutConfig, TrainerConfig, LocalizationConfig, RunConfig)
    for schema in (*SCHEMAS.values(), *MODEL_SCHEMAS.values(), *parts):
        for key in schema.__dataclass_fields__:
            assert re.search(rf"\b{key}\b", code), f"{schema.__name__}.{key}"


def test_every_yaml_has_a_comment_on_top():
    for path in config_dir().rglob("*.yaml"):
        assert path.read_text().startswith("#"), path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.bta=3"], r"model\.bta: no such key; did you mean model\.beta\?"),
        (["modl.beta=3"], r"modl: no such key; did you mean model\?"),
        (["model=vae", "model.beta=2"], r"model\.beta: no such key with model=vae; model=beta_vae has it"),
        (
            ["dataset=open_ms", "dataset.split.tst=1"],
            r"dataset\.split\.tst: no such key; did you mean dataset\.split\.test\?",
        ),
        (["dataset=barts"], "dataset=barts: there is no such dataset; did you mean brats\\?"),
        (["+foo=1"], "foo: no such key"),
        (["beta=4"], r"beta: no such key; did you mean model\.beta\?"),
        (["predictors.only=rec_l1"], r"predictors\.only: expected a list, predictors\.only=\[a,b\]"),
        (["model.latent=abc"], r"model\.latent: Value 'abc'"),
        (["trainer.max_epochs=0"], r"trainer\.max_epochs=0: expected a number of at least 1"),
        (["localization.fpr=1"], r"localization\.fpr=1\.0: expected a share"),
        (["seed=-1"], "seed=-1"),
        (["logger=tensorbord"], "logger=tensorbord: expected csv or wandb"),
        (["localization.bits=40"], r"localization\.bits=40"),
        (["localization.pictures=-1"], r"localization\.pictures=-1"),
        (["seed=5000000000"], "seed=5000000000: expected 0 to 4294967295"),
        (["dataset.slice_step=0"], r"dataset\.slice_step=0"),
        (["dataset.min_foreground=0"], r"dataset\.min_foreground=0"),
        (["dataset.anomalous_labels=[]"], r"dataset\.anomalous_labels=\[\]"),
        (
            ["dataset.anomalous_labels=[0,1]"],
            r"dataset\.anomalous_labels=\[0, 1\]: expected label values of at least 1",
        ),
        (["dataset=folder", "dataset.mask_threshold=1"], r"dataset\.mask_threshold=1\.0: expected a share from 0"),
        (["dataset=folder", "dataset.mask_threshold=-0.1"], r"dataset\.mask_threshold=-0\.1"),
        (["model.beta=interval(1,4)"], "a grid needs values"),
        (["~seed"], "a key cannot be deleted"),
    ],
)
def test_a_config_that_cannot_be_names_the_key(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(overrides)


def test_a_grid_is_the_product_of_its_values():
    grid = expand(["dataset=a,b", "seed=range(3)", "model.beta=4", "predictors.only=[x,y]"])
    assert len(grid) == 6
    assert grid[0] == ["dataset=a", "seed=0", "model.beta=4", "predictors.only=[x,y]"]
    assert len({tuple(run) for run in grid}) == 6


def test_a_malformed_override_says_how_to_write_one():
    with pytest.raises(ConfigError, match="write key=value"):
        expand(["seed"])


def test_the_composed_config_reads_back(tmp_path: Path):
    text = to_yaml(load_config(["model.beta=2.5", "dataset=open_ms"]))
    loaded = OmegaConf.create(text)
    assert loaded.model.beta == 2.5
    assert loaded.dataset.layouts.mni.image.flair.startswith("**/{subject}/FLAIR_")


def test_composing_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    load_config([])
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_home_folder():
    assert load_config(["dataset=generic", "dataset.root=~/cohort"]).dataset.root == str(Path.home() / "cohort")


def test_a_pattern_without_inner_quotes_is_told_how_to_be_quoted():
    with pytest.raises(
        ConfigError, match=r"dataset\.image=\{subject\}/x\.nii: .*two kinds of quotes: 'dataset\.image=\"…\"'"
    ):
        load_config(["dataset.image={subject}/x.nii"])
