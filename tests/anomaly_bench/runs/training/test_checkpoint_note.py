import json
from dataclasses import asdict

import pytest

from anomaly_bench.base.progress import Reporter
from anomaly_bench.runs.training.checkpoint_note import NOTE, CheckpointNote, read_note, write_note
from anomaly_bench.runs.training.checkpoints import usable
from data_modules.base.digests import digest_of

SOUND = CheckpointNote("id", "epoch_0003.ckpt", "d", 3, 10, 1.5, fitted=False)


class Lines(Reporter):
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run_id", None), ("file", 3), ("file", ""), ("file", "../x.ckpt"), ("file", "/etc/passwd"), ("file", "a\0.ckpt"),
        ("digest", []), ("epoch", "3"), ("epoch", -1), ("epoch", 2.5), ("epoch", True), ("epochs", None),
        ("epochs", 10**30), ("seconds", "long"), ("seconds", -1.0), ("fitted", 1), ("fitted", None), ("file", {}),
    ],
)  # fmt: skip
def test_a_note_with_a_value_of_another_kind_is_none(key, value, tmp_path):
    write_note(tmp_path, SOUND)
    assert read_note(tmp_path) == SOUND
    (tmp_path / NOTE).write_text(json.dumps(asdict(SOUND) | {key: value}))
    assert read_note(tmp_path) is None


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "a folder", "gone", "a link to itself"])
def test_a_damaged_checkpoint_is_named_and_not_used(damage, tmp_path):
    path = tmp_path / SOUND.file
    path.write_bytes(b"weights" * 1000)
    write_note(tmp_path, CheckpointNote("id", path.name, digest_of(path), 3, 10, 1.5, fitted=False))
    reporter = Lines()
    assert usable(tmp_path, "id", reporter) is not None
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage == "a link to itself":
        path.symlink_to(path)
    elif damage != "gone":
        spoilt = {"truncated": content[:-1], "one bit": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}
        path.write_bytes(spoilt[damage])
    assert usable(tmp_path, "id", reporter) is None
    assert reporter.said == [f"{tmp_path}: its checkpoint is damaged or another run's; starting afresh"]
