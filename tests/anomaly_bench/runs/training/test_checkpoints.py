import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import tiles

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.runs.run import run
from anomaly_bench.runs.training import checkpoints as resume
from anomaly_bench.runs.training.checkpoint_note import NOTE, read_note
from anomaly_bench.runs.training.random_state import random_state, set_random_state
from anomaly_bench.runs.training.stop_requests import StopRun, stop_request
from data_modules.transforms.augment import build_augment
from leaderboard.record import comparable

AUGMENT = "{flip:{use:RandFlipd,prob:0.5},shift:{use:RandShiftIntensityd,offsets:0.2,prob:0.5}}"
LONG = ["trainer.max_epochs=5", "trainer.checkpoint_share=1", "trainer.patience=2", "localization.monitor_every=3"]
SHORT = ["predictors.only=[rec_l1]", "localization.pictures=1", "localization.resamples=0"]


class Stopping(Reporter):
    """Interrupts the run after some steps, as Ctrl-C would."""

    def __init__(self, steps):
        self.left, self.lines, self.counts = steps, [], False

    def stage(self, title, total):
        self.counts = title == ""  # the run itself, after its data

    def advance(self, steps=1):
        self.left -= steps if self.counts else 0
        if self.left <= 0:
            raise KeyboardInterrupt

    def say(self, line):
        self.lines.append(line)


def interrupted(config, steps):
    reporter = Stopping(steps)
    with pytest.raises(KeyboardInterrupt):
        run(config, reporter)
    return reporter


def weights(folder):
    return torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]


def assert_the_same(one, other):
    """Everything that two runs leave, but for the time it took."""
    (left,), (right,) = one.glob("mvtec*"), other.glob("mvtec*")
    saved = weights(left), weights(right)
    assert all(torch.equal(saved[0][key], saved[1][key]) for key in saved[0])
    assert (left / "metrics.csv").read_text() == (right / "metrics.csv").read_text()
    assert {path.name for path in left.iterdir()} == {path.name for path in right.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Overrides of a small run, its result, and the folder `a` that it was written to."""
    folder = tmp_path_factory.mktemp("resume")
    schedule = ["model.schedule=cyclical", "model.cycle_epochs=2", f"dataset.augment={AUGMENT}"]
    overrides = [*tiles(folder), *LONG, *SHORT, *schedule]
    return overrides, run(load_config([*overrides, f"out={folder / 'a'}"])), folder / "a"


@pytest.fixture
def again(undisturbed, tmp_path):
    """The result of the undisturbed run, the config of the same one in `b`, and its training steps in an epoch."""
    overrides, whole, _ = undisturbed
    return whole, load_config([*overrides, f"out={tmp_path / 'b'}"]), 2


@pytest.mark.slow
def test_a_run_interrupted_in_an_epoch_and_while_localizing_ends_with_the_same_numbers_to_the_last_bit(
    again, undisturbed, tmp_path
):
    whole, config, per_epoch = again
    interrupted(config, 2 * per_epoch + 1)
    (folder,) = (tmp_path / "b").glob("mvtec*")
    assert (read_note(folder).epoch, read_note(folder).epochs) == (2, 5)
    interrupted(config, 2 * per_epoch + 1)  # once more in the same epoch; those of the first two epochs count at once
    told = interrupted(config, 3 * per_epoch + 1).lines
    assert "goes on from its checkpoint, after epoch 2 of 5" in told
    assert read_note(folder).epoch == 3
    interrupted(config, 5 * per_epoch + 2)
    assert read_note(folder).fitted
    resumed = run(config)
    assert comparable(resumed, whole)
    assert resumed.training == whole.training
    assert_the_same(undisturbed[2], tmp_path / "b")


def test_who_is_to_leave_before_the_training_has_begun_does_an_epoch_first(again, tmp_path, monkeypatch):
    _, config, per_epoch = again
    interrupted(config, 2 * per_epoch + 1)
    monkeypatch.setattr(stop_request, "save", True)
    monkeypatch.setattr(stop_request, "leave", True)
    with pytest.raises(StopRun):
        run(config)
    (folder,) = (tmp_path / "b").glob("mvtec*")
    assert read_note(folder).epoch == 3


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["bytes", "note", "other run"])
def test_a_damaged_checkpoint_is_said_and_the_run_starts_afresh(again, undisturbed, tmp_path, damage):
    whole, config, per_epoch = again
    interrupted(config, 2 * per_epoch + 1)
    (folder,) = (tmp_path / "b").glob("mvtec*")
    note = json.loads((folder / NOTE).read_text())
    if damage == "bytes":
        content = bytearray((folder / note["file"]).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / note["file"]).write_bytes(content)
    elif damage == "note":
        (folder / NOTE).write_text("{")
    else:
        (folder / NOTE).write_text(json.dumps({**note, "run_id": "another"}))
    reporter = Stopping(10**6)
    assert comparable(run(config, reporter), whole)
    assert any("starting afresh" in line for line in reporter.lines)
    assert_the_same(undisturbed[2], tmp_path / "b")


@pytest.mark.slow
def test_a_full_disk_at_a_checkpoint_leaves_the_one_before(again, monkeypatch):
    whole, config, per_epoch = again
    real, written = resume.write_atomic, []

    def full(path, content):
        written.append(path.name)
        if len(written) == 3:
            raise OSError(28, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(resume, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        run(config)
    assert written == ["epoch_0001.ckpt", "epoch_0002.ckpt", "epoch_0003.ckpt"]
    reporter = Stopping(2 * per_epoch)  # two epochs are not done again
    with pytest.raises(KeyboardInterrupt):
        run(config, reporter)
    assert comparable(run(config), whole)


def test_no_checkpoint_is_written_where_none_is_wished(pictures_run, tmp_path):
    config = load_config([*pictures_run, "trainer.max_epochs=3", "trainer.checkpoint_share=0"])
    interrupted(config, 5)
    assert not list((tmp_path / "runs").glob("*/*.ckpt"))


def test_every_source_of_random_numbers_goes_on_where_it_was():
    inside = torch.ones(4, 1, 8, 8, dtype=torch.bool)
    batch = {"image": torch.rand(4, 1, 8, 8), "foreground": inside}
    order = torch.Generator().manual_seed(5)
    augment = build_augment({"turn": {"use": "RandRotated", "range_x": 1.0, "prob": 0.5}}, 3)
    loader = SimpleNamespace(
        dataset=SimpleNamespace(augment=augment),
        batch_sampler=SimpleNamespace(sampler=SimpleNamespace(generator=order)),
    )

    def draw():
        drawn = torch.rand(3), np.random.rand(3), random.random(), torch.rand(2, generator=order)  # noqa: NPY002
        return [augment(batch)["image"], *drawn]

    draw()
    state = random_state(loader)
    first = draw()
    set_random_state(state, loader)
    assert all(np.array_equal(one, other) for one, other in zip(first, draw(), strict=True))
    assert not any(np.array_equal(one, other) for one, other in zip(first, draw(), strict=True))
