"""A pipe, a device and a file without end are refused at once, whoever reads them."""

import os

import pytest

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.grid import load_grid
from anomaly_bench.runs.training.checkpoint_note import read_note
from anomaly_bench.tuning.space import read_space
from data_modules.base.config import SplitConfig
from data_modules.base.errors import DataError
from data_modules.base.regular import LARGEST, regular
from data_modules.cases.case import Case
from data_modules.cases.split_given import given_split
from data_modules.cases.subjects_csv import attach_attributes
from leaderboard.json_file import ResultError
from leaderboard.record import read_result
from leaderboard.results.published import read_reported

READERS = {
    "result": (read_result, ResultError),
    "reported": (read_reported, ResultError),
    "split": (lambda path: given_split([Case("a", {})], SplitConfig(file=str(path))), DataError),
    "subjects": (lambda path: attach_attributes([Case("a", {})], str(path)), DataError),
    "sweep": (lambda path: load_grid([], file=path), ConfigError),
    "space": (read_space, ConfigError),
}


def make(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as stream:
            stream.truncate(LARGEST + 1)


@pytest.mark.parametrize("kind", ["pipe", "device", "too large"])
@pytest.mark.parametrize("reader", READERS)
def test_what_would_never_end_is_refused_in_a_line(tmp_path, reader, kind):
    read, error = READERS[reader]
    make(kind, path := tmp_path / "file")
    with pytest.raises(error, match="more than the" if kind == "too large" else "a pipe or a device") as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["pipe", "device", "too large"])
def test_a_note_that_would_never_end_is_none(tmp_path, kind):
    make(kind, tmp_path / "checkpoint.json")
    assert read_note(tmp_path) is None


def test_a_file_is_what_it_is(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert regular(tmp_path / "a").read_bytes() == b"abc"
    with pytest.raises(FileNotFoundError):
        regular(tmp_path / "b")
