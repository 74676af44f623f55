import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from checkout import ROOT
from omegaconf import OmegaConf

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.load import load_config, read_config, to_yaml
from anomaly_bench.config.schema import MODEL_SCHEMAS, LocalizationConfig, RunConfig, TrainerConfig
from data_modules.base.config import SCHEMAS, LayoutConfig, SplitConfig
from data_modules.base.options.folders import config_dir

PACKAGES = [ROOT / name for name in ("anomaly_bench", "data_modules")]
SCHEMA_FILES = ("schema.py", "config.py")

GROUPS = {
    path.name: sorted(file.stem for file in path.glob("*.yaml")) for path in config_dir().iterdir() if path.is_dir()
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group, options in GROUPS.items() for option in options]
)
def test_every_shipped_option_composes_and_says_nothing_unknown(group, option):
    assert to_yaml(load_grid([f"{group}={option}"])[0])


@pytest.mark.parametrize("option", GROUPS["experiment"])
def test_an_experiment_decides_everything_it_names(option):
    wanted = yaml.safe_load((config_dir() / "experiment" / f"{option}.yaml").read_text())
    first = asdict(load_grid([f"experiment={option}"])[0])
    swept = wanted.pop("sweep", {})
    wanted.pop("defaults", None)
    for path, value in [*leaves(wanted), *((key, values[0]) for key, values in swept.items())]:
        found = first
        for key in path.split("."):
            found = found[key]
        assert (found["name"] if path == "dataset" else found) == value, path


def leaves(node, prefix=""):
    """The values of nested mappings by their dotted paths."""
    for key, value in node.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]


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
        (
            ["model.channels=[[16,32,64]]"],
            r"model\.channels=\[\[16, 32, 64\]\]: expected a valid integer in a list, model\.ch",
        ),
        (["predictors.only=[[a]]"], r"predictors\.only=\[\['a'\]\]: expected a valid string in a list"),
        (["model.latent=abc"], r"model\.latent=abc: expected an integer"),
        (["trainer.max_epochs=0"], r"trainer\.max_epochs=0: expected a number no less than 1"),
        (["localization.fpr=1"], r"localization\.fpr=1\.0: expected a number greater than 0 and less than 1"),
        (["seed=-1"], "seed=-1"),
        (["logger=tensorbord"], "logger=tensorbord: expected one of csv, wandb, tensorboard, mlflow"),
        (["localization.bits=40"], r"localization\.bits=40"),
        (["localization.pictures=-1"], r"localization\.pictures=-1"),
        (["seed=5000000000"], "seed=5000000000: expected a number no less than 0 and less than 4294967296"),
        (["dataset.slice_step=0"], r"dataset\.slice_step=0"),
        (["dataset.min_foreground=0"], r"dataset\.min_foreground=0"),
        (["dataset.anomalous_labels=[]"], r"dataset\.anomalous_labels=\[\]: expected at least 1 item"),
        (
            ["dataset.split.train_subjects=[[a]]"],
            r"dataset\.split\.train_subjects=\[\['a'\]\]: expected a valid string",
        ),
        (["model.lr=nan"], r"model\.lr=nan: expected a number"),
        (["model.lr=inf"], r"model\.lr=inf: expected a number"),
        (
            ["model.latent=8,16", "model.channels=[4,4],[[4,4]]"],
            r"model\.channels=\[\[4, 4\]\]: expected a valid integer",
        ),
        (
            ["dataset.anomalous_labels=[0,1]"],
            r"dataset\.anomalous_labels=\[0, 1\]: expected a number greater than or equal to 1",
        ),
        (
            ["dataset=folder", "dataset.mask_threshold=1"],
            r"dataset\.mask_threshold=1\.0: expected a number less than 1",
        ),
        (["dataset=folder", "dataset.mask_threshold=-0.1"], r"dataset\.mask_threshold=-0\.1"),
        (["model.beta=interval(1,4)"], "a grid needs values"),
        (["~seed"], "a key cannot be deleted"),
    ],
)
def test_a_config_that_cannot_be_names_the_key(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(overrides)


def test_a_grid_is_the_product_of_its_values_each_as_if_composed_alone():
    fixed = ["model.beta=4", "predictors.only=[rec_l1,rec_l2]"]
    grid = load_grid(["dataset=brats,open_ms", "seed=range(3)", *fixed])
    alone = [
        load_config([f"dataset={name}", f"seed={seed}", *fixed]) for name in ("brats", "open_ms") for seed in range(3)
    ]
    assert grid == alone


def test_values_of_a_grid_are_of_the_schemas_types_whatever_they_are():
    grid = load_grid(["dataset.size=[16,16],[32,32]", "model.beta=1,2.5", "dataset.root=~/a,'b c'"])
    assert [config.dataset.size for config in grid] == [[16, 16]] * 4 + [[32, 32]] * 4
    assert {type(config.model.beta) for config in grid} == {float}
    assert {config.dataset.root for config in grid} == {str(Path.home() / "a"), "b c"}


def test_keys_that_hang_together_are_set_in_their_order():
    both = load_grid(["predictors.members.rec_l1={use:rec_l1},{use:rec_l2}", "predictors.members.rec_l1.smooth=1,2"])
    members = [config.predictors.members["rec_l1"] for config in both]
    assert [(member["use"], member["smooth"]) for member in members] == [
        ("rec_l1", 1),
        ("rec_l1", 2),
        ("rec_l2", 1),
        ("rec_l2", 2),
    ]
    assert [config.seed for config in load_grid(["seed=0,1", "seed=5"])] == [5, 5]


@pytest.mark.slow
def test_an_experiment_and_a_file_may_hold_a_sweep_whose_lists_the_command_line_replaces(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\nsweep: {model.beta: [0.5, 1], seed: range(3), dataset: [brats, ixi_brats]}\n"
    )
    monkeypatch.setenv("ANOMALY_BENCH_CONFIG_DIR", str(tmp_path))

    def shown(*overrides, file=None):
        return [
            (one.dataset.name, one.model.beta, one.seed) for one in load_grid(["experiment=mine", *overrides], file)
        ]

    assert shown() == [(name, beta, seed) for name in ("brats", "ixi_brats") for beta in (0.5, 1) for seed in range(3)]
    assert shown("seed=7", "dataset=brats") == [("brats", 0.5, 7), ("brats", 1.0, 7)]
    (tmp_path / "more.yaml").write_text("sweep:\n  model.beta: [8]\n")
    assert shown("seed=7", "dataset=brats", file=tmp_path / "more.yaml") == [("brats", 8.0, 7)]
    with pytest.raises(ConfigError, match="make 12 runs; `anomaly-bench bench` does several"):
        load_config(["experiment=mine"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sweep: [1]", "expected nothing but sweep: {model.beta"),
        ("sweep: {seed: 1}\nseed: 2", "expected nothing but sweep"),
        ("sweep: {seed: {a: 1}}", "sweep: seed: expected a list of values"),
        ("sweep: {sed: [1, 2]}", "sed: no such key; did you mean seed"),
        ("sweep: {seed: [a]}", "seed=a: expected an integer"),
        ("sweep: {", "is no YAML"),
    ],
)
def test_a_sweep_file_that_cannot_be_is_named(tmp_path, text, message):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_grid([], tmp_path / "sweep.yaml")


def test_a_runs_config_reads_back_from_its_folder(tmp_path):
    config = load_config(["dataset=ixi_brats", "model=ce_vae", "predictors.only=[rec_l1]", "seed=3"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read_config(tmp_path / "config.yaml") == config


def test_a_malformed_override_says_how_to_write_one():
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        load_grid(["seed"])


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


def test_a_width_of_smoothing_that_repeats_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"localization\.smoothing=\[0\.0, 0\.0, 1\.0\]: expected values that differ"):
        load_config(["localization.smoothing=[0,0,1]"])


@pytest.mark.parametrize("path", ["/data/C# proj/s05 #2", "/data/#", "/data/a (1)/C#"])
def test_a_path_may_have_a_mark_that_hydra_takes_in_quotes_alone(path):
    assert load_config(["dataset=folder", f"dataset.root={path}"]).dataset.root == path
    roots = [config.dataset.root for config in load_grid(["dataset=folder", f"dataset.root={path}", "seed=0,1"])]
    assert roots == [path, path]
