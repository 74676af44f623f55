"""A dataset by its name, in Python as on the command line."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import pictures_config
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from anomaly_bench.config.load import load_config
from data_modules import DataError, NiftiDataModule, PictureDataModule
from data_modules.base.config import DatasetConfig, NiftiConfig, PictureConfig
from data_modules.base.options.folders import config_dir, options_of
from data_modules.modules.configured import configured

LOADED = """
import sys
import data_modules
from data_modules import DataError
import anomaly_bench.cli.main
assert not {"torch", "hydra", "omegaconf", "rich"} & set(sys.modules)
from data_modules import *
assert "torch" in sys.modules
print(AnomalyBatch.__name__, AnomalyDataModule.__name__)
data_modules.nothing
"""


def given(name, schema=NiftiConfig, **keys):
    return configured(name, keys, schema, 0)


def composed(*overrides):
    return load_config(overrides).dataset


@pytest.mark.slow
@pytest.mark.parametrize("name", options_of("dataset"))
def test_every_name_is_the_dataset_of_the_command_line(name):
    assert given(name, DatasetConfig) == composed(f"dataset={name}")


def test_keys_are_the_overrides_of_the_command_line():
    same = composed(
        *("dataset=ixi_brats", "dataset.size=[32,48]", "dataset.split.val=0.2", "dataset.split.group=null"),
        *("dataset.preprocess.spacing=null", "dataset.preprocess.own={use: RandFlipd, prob: 0.5}"),
        *("dataset.healthy.layouts.ixi.brain_mask='{subject}.nii'", "dataset.root=~/data", "dataset.slice_step=4"),
    )
    assert same == given(
        "ixi_brats",
        size=(32, 48),
        split={"val": 0.2, "group": None},
        preprocess={"spacing": None, "own": {"use": "RandFlipd", "prob": 0.5}},
        healthy={"layouts": {"ixi": {"brain_mask": "{subject}.nii"}}},
        root="~/data",
        slice_step=4,
    )
    assert same.healthy.name == "ixi"
    assert same.split.test == 0.2  # that of brats, on which ixi_brats is built
    assert given("brats", root=Path("a/b")).root == "a/b"


def test_a_healthy_cohort_has_a_name_too():
    same = composed("dataset=brats", "+dataset@dataset.healthy=oasis1", "dataset.modality=t1")
    assert given("brats", healthy="oasis1", modality="t1") == same
    assert same.healthy.name == "oasis1"


def test_a_config_may_be_given_whole_and_changed(tmp_path):
    config = pictures_config(tmp_path)
    changed = PictureDataModule(config, split={"val": 0.5}, color=False)
    assert changed.config == replace(config, color=False, split=replace(config.split, val=0.5))
    assert config.color
    assert PictureDataModule(config).config is config


def test_the_users_own_datasets_have_names_and_may_hang_on_the_seed(tmp_path, monkeypatch):
    (tmp_path / "dataset").mkdir()
    text = "defaults: [brats, _self_]\nname: mine\nsplit: {salt: '${seed}', group: '${dataset.name}'}\n"
    (tmp_path / "dataset/mine.yaml").write_text(text)
    monkeypatch.setenv("ANOMALY_BENCH_CONFIG_DIR", str(tmp_path))
    config = NiftiDataModule("mine", seed=3, name="yours").config
    assert config == composed("dataset=mine", "seed=3", "dataset.name=yours")
    assert (config.split.salt, config.split.group) == ("3", "yours")


def test_the_command_line_and_python_share_store_split_and_fingerprint(mvtec_root, cache, cli):
    keys = {"root": mvtec_root, "category": "tile", "size": (16, 16), "split": {"holdout": 0.3}}
    written = [
        f"dataset.root={mvtec_root}",
        "dataset.category=tile",
        "dataset.size=[16,16]",
        "dataset.split.holdout=0.3",
    ]
    code, out, _ = cli("data", "prepare", "dataset=mvtec_ad", *written)
    assert code == 0
    data = PictureDataModule("mvtec_ad", **keys)
    data.read_case = lambda case: pytest.fail("the store is there")
    data.prepare_data()
    assert f"fingerprint {data.fingerprint}" in out
    assert str(data.store.folder) in out
    again = PictureDataModule(composed("dataset=mvtec_ad", *written))
    assert again.split_digest == data.split_digest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PictureDataModule("brats"), r'brats holds volumes: NiftiDataModule\("brats"\)'),
        (lambda: NiftiDataModule(PictureConfig(name="x")), r"x holds pictures: PictureDataModule\(config\)"),
        (
            lambda: PictureDataModule("tiny_textur"),
            "dataset=tiny_textur: there is no such dataset; did you mean tiny_texture",
        ),
        (lambda: PictureDataModule("a,b"), "dataset=a,b: there is no such dataset; there are atlas, bmad"),
        (lambda: PictureDataModule(42), "dataset=42: expected the name of a dataset, or a PictureConfig"),
        (lambda: NiftiDataModule("brats", sise=(8, 8)), r"dataset\.sise: no such key; did you mean dataset\.size\?"),
        (
            lambda: NiftiDataModule("brats", split={"vall": 0.2}),
            r"dataset\.split\.vall: no such key; did you mean dataset\.split\.val\? \(there are val, test, holdout",
        ),
        (lambda: NiftiDataModule("brats", size=64), r"dataset\.size: expected a list, dataset\.size=\[a,b\]"),
        (
            lambda: NiftiDataModule("brats", split=0.2),
            r"dataset\.split: expected keys of its own, dataset\.split\.KEY=VALUE",
        ),
        (lambda: NiftiDataModule("brats", healthy="ix"), "healthy=ix: there is no such dataset; did you mean ixi"),
        (lambda: NiftiDataModule("brats", size=(4, 4)), r"dataset\.size=\[4, 4\]: expected \[height, width\]"),
        (lambda: NiftiDataModule("brats", slice_step="x"), r"dataset\.slice_step=x: expected an integer"),
        (lambda: NiftiDataModule("brats", slice_step=0), r"dataset\.slice_step=0: expected a number no less than 1"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(make, message):
    with pytest.raises(DataError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)


def test_inside_a_program_of_hydras_own_it_composes_and_leaves_hydra_as_it_was(tmp_path):
    (tmp_path / "theirs.yaml").write_text("a: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        theirs = GlobalHydra.instance().hydra
        assert given("brats") == composed("dataset=brats")
        assert GlobalHydra.instance().hydra is theirs
        assert compose("theirs").a == 1
    assert config_dir().is_dir()


def test_the_package_offers_its_names_and_loads_torch_only_with_them():
    ended = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=False)
    assert ended.stdout == "AnomalyBatch AnomalyDataModule\n"
    assert "AttributeError: module 'data_modules' has no attribute 'nothing'" in ended.stderr
