"""What a run has learned is read whole, or refused with the file's name: nothing in it is taken on trust, or run."""

import io
import json
import pickle

import numpy as np
import pytest
import torch

from anomaly_bench.localization.validation.learned import Learned
from anomaly_bench.metrics import Calibration
from leaderboard.json_file import ResultError


@pytest.fixture
def written(tmp_path):
    """The arrays of a sound file, and its path."""
    calibration = Calibration(0.5, 8, torch.tensor([3, 7, 200]), torch.tensor([1, 5, 2]))
    scores = {"a": torch.tensor([0.25, 0.5])}
    path = tmp_path / "calibration.npz"
    Learned({"a": calibration}, {"a": 9}, scores, 0.02).write(path)
    with np.load(path) as arrays:
        return dict(arrays), path


def test_what_is_written_is_read(written):
    arrays, path = written
    read = Learned.read(path)
    assert (read.image_share, read.thresholds) == (0.02, {"a": 9})
    assert read.calibration["a"].filled.tolist() == [3, 7, 200]
    assert read.calibration["a"].pixels.tolist() == [1, 5, 2] == arrays["pixels_0"].tolist()
    assert read.normal_scores["a"].tolist() == [0.25, 0.5]


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('run')",)


def about(change):
    def changed(arrays):
        text = change(bytes(arrays["about"]))
        return arrays | {"about": np.frombuffer(text, np.uint8)}

    return changed


def row(**values):
    def changed(text):
        content = json.loads(text)
        content["rows"][0] |= values
        return json.dumps(content).encode()

    return about(changed)


@pytest.mark.parametrize(
    "change",
    [
        about(lambda text: b"[" * 100_000),
        about(lambda text: text.replace(b"0.02", b"NaN")),
        about(lambda text: text.replace(b"0.02", b'"0.02"')),
        about(lambda text: b"[]"),
        about(lambda text: text[:-3]),
        row(pivot="a"), row(bits=60), row(bits=2), row(threshold=[1]), row(name=None), row(finishing=3),
        lambda arrays: arrays | {"pixels_0": arrays["pixels_0"][:2]},
        lambda arrays: arrays | {"filled_0": np.array(["a", "b", "c"])},
        lambda arrays: arrays | {"filled_0": np.zeros(0, np.uint32), "pixels_0": np.zeros(0, np.int64)},
        lambda arrays: arrays | {"images_0": np.zeros((2, 2), np.float32)},
        lambda arrays: arrays | {"images_0": np.array([Trap()])},
        lambda arrays: {name: array for name, array in arrays.items() if name != "filled_0"},
    ],
)  # fmt: skip
def test_damage_is_named_with_a_remedy(change, written):
    arrays, path = written
    stream = io.BytesIO()
    np.savez(stream, **change(arrays))
    path.write_bytes(stream.getvalue())
    with pytest.raises(ResultError, match=r"calibration\.npz: cannot be read, it is damaged; repeat the run"):
        Learned.read(path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", pickle.dumps(Trap()), b"\x93NUMPY\1\0"])
def test_what_is_no_archive_is_named_too(content, tmp_path):
    (tmp_path / "calibration.npz").write_bytes(content)
    with pytest.raises(ResultError, match="it is damaged"):
        Learned.read(tmp_path / "calibration.npz")
