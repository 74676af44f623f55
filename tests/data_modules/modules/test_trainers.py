"""The data modules in a Trainer of a Lightning user's own, with its defaults: one process, and two."""

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from checkout import ROOT
from distributed_script import Counting
from fakes import pictures_config, volumes_config
from pytorch_lightning.loggers import CSVLogger

from data_modules.base import bars
from data_modules.modules.nifti import NiftiDataModule
from data_modules.modules.pictures import PictureDataModule


@pytest.fixture
def data(mvtec_root, cache):
    return PictureDataModule(pictures_config(mvtec_root), cache_dir=cache, batch_size=8)


def trainer(folder, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return pl.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder, **quiet, **options)


def names(steps):
    return [name for step in steps for name in step]


def test_a_trainer_fits_validates_tests_and_predicts_on_every_image_of_its_part(data, tmp_path):
    model, one = Counting(data), trainer(tmp_path, num_sanity_val_steps=0, enable_checkpointing=False)
    one.fit(model, data)
    parts = {name: [data.store.subjects[row] for row in rows] for name, rows in data.indices.items()}
    assert sorted(names(model.seen["train"])) == sorted(set(names(model.seen["train"])) & set(parts["train"]))
    assert len(names(model.seen["train"])) == len(parts["train"]) // 8 * 8
    assert [names(model.seen[f"val{part}"]) for part in range(2)] == [parts["val_normal"], parts["val_anomalous"]]
    one.validate(model, data, verbose=False)
    assert names(model.seen["val0"]) == 2 * parts["val_normal"]
    one.test(model, data, verbose=False)
    one.predict(model, data)
    assert names(model.seen["test"]) == names(model.seen["predict"]) == parts["test"]


def test_fast_runs_and_limits_and_overfitting_are_taken(data, tmp_path):
    for options in ({"fast_dev_run": True}, {"limit_train_batches": 2, "limit_val_batches": 1}, {"overfit_batches": 1}):
        model = Counting(data)
        trainer(tmp_path, enable_checkpointing=False, **options).fit(model, data)
        assert len(model.seen["train"]) == options.get("limit_train_batches", 1)


def test_no_anomaly_to_validate_on_is_no_obstacle(mvtec_root, cache, tmp_path):
    config = pictures_config(mvtec_root)
    config.split.holdout = 0.0
    data = PictureDataModule(config, cache_dir=cache)
    model = Counting(data)
    trainer(tmp_path, enable_checkpointing=False).fit(model, data)
    assert "val0" in model.seen
    assert "val1" not in model.seen


def test_an_item_is_a_batch_of_one(data):
    loader = data.test_dataloader()  # sets up what nothing has set up before
    items = list(loader.dataset)
    assert len(items) == len(loader.dataset) == 7
    for key, whole in next(iter(loader)).items():
        assert torch.equal(torch.cat([item[key] for item in items]), whole)


def test_the_shape_is_known_before_anything_is_read(brats_root, mvtec_root, cache):
    grey = PictureDataModule(pictures_config(mvtec_root, color=False, size=[16, 24]), cache_dir=cache)
    for data, shape in (
        (grey, (1, 16, 24)),
        (NiftiDataModule(volumes_config(brats_root), cache_dir=cache), (1, 16, 16)),
    ):
        assert data.image_shape == shape
        assert "store" not in vars(data)
        data.setup()
        assert data.image_shape == data.store.shape


def test_the_loaders_and_digests_of_data_that_nobody_has_prepared_prepare_it(data, mvtec_root, cache):
    assert data.fingerprint == PictureDataModule(pictures_config(mvtec_root), cache_dir=cache).fingerprint
    other = PictureDataModule(pictures_config(mvtec_root), cache_dir=cache)
    assert other.split_digest == data.split_digest
    assert len(other.predict_dataloader().dataset) == 7


def test_another_process_is_sent_no_pixels_and_opens_the_store_itself(data):
    data.setup()
    sent = pickle.dumps(data)
    assert len(sent) < data.store.folder.joinpath("image.bin").stat().st_size
    there = pickle.loads(sent)
    assert there.store.attributes == data.store.attributes != [{}] * 34
    for one, other in zip(data.train_dataloader(), there.train_dataloader(), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_of_several_processes_none_is_left_without_a_batch(data):
    assert data.train_dataloader().drop_last  # 18 images in batches of 8
    data.trainer = SimpleNamespace(world_size=3)
    assert not data.train_dataloader().drop_last


@pytest.mark.slow
def test_two_processes_share_the_images(mvtec_root, tmp_path):
    script = ROOT / "tests/helpers/distributed_script.py"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/helpers'}", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, script, mvtec_root, tmp_path], env=environment, check=True, timeout=300, capture_output=True
    )
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    data = PictureDataModule(pictures_config(mvtec_root), cache_dir=tmp_path / "cache")
    data.setup()
    parts = {name: {data.store.subjects[row] for row in rows} for name, rows in data.indices.items()}
    for epoch in range(2):
        steps = [rank["train"][epoch * len(rank["train"]) // 2 :][: len(rank["train"]) // 2] for rank in ranks]
        assert len(steps[0]) == len(steps[1]) == len(parts["train"]) // 8
        drawn = Counter(names(steps[0]) + names(steps[1]))
        assert set(drawn) <= parts["train"]
        assert max(drawn.values()) == 1
    for step, part in (("val0", "val_normal"), ("val1", "val_anomalous"), ("test", "test"), ("predict", "test")):
        assert {name for rank in ranks for name in names(rank[step])} == parts[part], step
    assert sorted(names(ranks[0]["predict"]) + names(ranks[1]["predict"])) == sorted(parts["test"])


def test_a_line_tells_what_a_module_holds_or_how_to_have_it_read(data):
    assert repr(data) == "PictureDataModule of (3, 16, 16) images: tiles, not read yet; call data.setup()"
    data.setup()
    assert str(data) == f"PictureDataModule of (3, 16, 16) images: {data.describe()}"
    assert "pictures 19 train, 8 val, 7 test; images 19 train" in data.describe()


def test_what_a_module_was_made_with_is_kept_in_checkpoints_and_never_breaks_a_logger(mvtec_root, cache, tmp_path):
    data = PictureDataModule("mvtec_ad", root=mvtec_root, category="tile", size=(16, 16), batch_size=8, cache_dir=cache)
    one = pl.Trainer(max_epochs=1, accelerator="cpu", logger=CSVLogger(tmp_path), enable_progress_bar=False)
    one.fit(Counting(data), data)
    one.save_checkpoint(tmp_path / "last.ckpt")
    again = PictureDataModule.load_from_checkpoint(tmp_path / "last.ckpt")
    assert again.config == data.config
    assert (again.batch_size, again.seed) == (8, 0)
    one.logger.log_hyperparams(data.hparams)


def test_a_bar_shows_the_preparing_on_a_terminal_and_nothing_elsewhere(mvtec_root, cache, monkeypatch, capsys):
    shown = []

    @contextmanager
    def bar(title):
        yield lambda done, total: shown.append((title, done, total))

    monkeypatch.setattr(bars, "bar", bar)
    data = PictureDataModule(pictures_config(mvtec_root), cache_dir=cache)
    data.setup()
    assert shown[-1] == ("prepare tiles", 34, 34)
    assert data.progress is None
    monkeypatch.undo()
    PictureDataModule(pictures_config(mvtec_root, size=[16, 24]), cache_dir=cache).setup()
    assert capsys.readouterr().err == ""
