"""A few seconds of `make fuzz`: the first inputs of a seed, and what is behind each of its promises."""

import re
import resource

import pytest

from tests.helpers.hostile import fuzzing
from tests.helpers.hostile.fuzz_corpus import corpus

SEED = 0
NUMBERS = {"config": 8, "overrides": 12}  # composing takes a tenth of a second; of all others
OTHERS = 100
MIB = 1024  # of ru_maxrss, in KiB


@pytest.fixture(scope="module", autouse=True)
def quiet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logging.Logger.handle", lambda *_: None)
        yield


@pytest.mark.parametrize("target", fuzzing.TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_changed_files_give_a_value_or_one_line(tmp_path, target):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    numbers = range(NUMBERS.get(target, OTHERS))
    counts, faults = fuzzing.fuzz(SEED, numbers, tmp_path, [target])
    assert not faults, "".join(faults)
    assert counts == {target: len(numbers)}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * MIB


@pytest.mark.parametrize("target", fuzzing.TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_the_corpus_is_read(tmp_path, target):
    """What is fuzzed is sound: changes of what is refused anyway would try nothing."""
    for name, data in corpus()[target][:: 4 if target == "overrides" else 1]:
        path = tmp_path / name
        path.write_bytes(data)
        fuzzing.TARGETS[target](path)


def test_an_input_depends_on_seed_and_number_alone():
    first, again, other = (fuzzing.inputs(seed, ["map"], 3) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def spin(_):
    while True:
        pass


def several(_):
    from data_modules.base.errors import DataError

    raise DataError("one\ntwo")


@pytest.mark.parametrize(
    ("reader", "fault"),
    [(spin, r"takes more than 0\.05 s"), (several, "several lines"), (lambda path: 1 / 0, "ZeroDivisionError")],
)
def test_a_reader_that_breaks_a_promise_is_found(tmp_path, monkeypatch, reader, fault):
    monkeypatch.setitem(fuzzing.TARGETS, "map", reader)
    monkeypatch.setattr(fuzzing, "SECONDS", 0.05)
    found = tmp_path / "found"
    found.mkdir()
    _, faults = fuzzing.fuzz(SEED, range(1), tmp_path, ["map"], found)
    (kept,) = found.iterdir()
    assert len(faults) == 1
    assert re.search(fault, faults[0])
    assert f"--repro {kept}" in faults[0]
