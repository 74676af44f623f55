"""Fuzzing: files of every kind that is read, changed by a seeded chance, give a value or one line, and that soon.

`make fuzz` runs it for hours; `python tests/helpers/hostile/fuzzing.py --repro FILE` reads one input again.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import hashlib
import logging
import os
import random
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anomaly_bench.base.errors import is_users
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.load import read_config
from anomaly_bench.scoring.maps import read_map
from data_modules.base.config import SplitConfig
from data_modules.cases.case import Case
from data_modules.cases.split_given import given_split
from data_modules.cases.subjects_csv import attach_attributes
from data_modules.catalog.unpack import unpack
from data_modules.readers.like import read_source
from data_modules.readers.pictures import read_mask, read_picture
from data_modules.readers.volumes import read_volume
from leaderboard.json_file import read_document
from leaderboard.record import read_result
from leaderboard.results.collect import Sweep
from leaderboard.verdicts.check import read_baseline
from tests.helpers.hostile.fuzz_corpus import corpus

SECONDS = 5.0  # of a processor, for one input
GIB = 4  # of memory beyond what the program has, in a process of its own
BATCH = 1200  # inputs for a process
HOME = Path(tempfile.gettempdir()) / "anomaly_bench_fuzz"


def _picture(path: Path) -> None:
    for color in (False, True):
        read_picture(path, color)


def _subjects(path: Path) -> None:
    attach_attributes([Case(name, {}) for name in "abcd"], str(path))


def _overrides(path: Path) -> None:
    load_grid(path.read_text("utf-8", "surrogateescape").replace("\0", "").split("\n"))


def _archive(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unpack(path, Path(folder), "single")


TARGETS: dict[str, Callable[[Path], Any]] = {
    "volume": read_volume,
    "like": lambda path: read_source(str(path)),
    "picture": _picture,
    "mask": lambda path: read_mask(path, None),
    "map": read_map,
    "result": read_result,
    "sweep": lambda path: read_document(path, Sweep, "Start it again."),
    "baseline": read_baseline,
    "split": lambda path: given_split([], SplitConfig(file=str(path))),
    "subjects": _subjects,
    "config": read_config,
    "overrides": _overrides,
    "archive": _archive,
}
TEXT = ("result", "sweep", "baseline", "split", "subjects", "config", "overrides")
INTEGERS = (
    (form, (0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))))
    for form, bits in (("b", 8), ("h", 16), ("i", 32), ("q", 64))
)
FLOATS = ((form, (0.0, -0.0, 1e-38, 1e38, float("nan"), float("inf"))) for form in "fd")
EXTREMES = [struct.pack(o + form, value) for form, values in (*INTEGERS, *FLOATS) for value in values for o in "<>"]
WORDS = (
    'null -1 0 1e999 1e308 -0.0 NaN inf 99999999999999999999 1.5 true [] {} "" "\\ud800" \'\' [1,2] {a:1} ??? ${out} '
    "${oc.env:HOME} range(0) glob(*) range(0,10,0) choice() !!python/object:os.system &a *a \x1b[2J , ; : = ~ + \u2028 e\u0301"
)
LONG = (b"[" * 5000, b'{"a":' * 5000, b"9" * 5000, b"a" * 70_000)
EVIL = [*WORDS.encode().split(b" "), b" ", b"\n", b"\t", b"\r", b"\xff\xfe", b"\xef\xbb\xbf", *LONG]


class TooLong(BaseException):
    """An input took more of a processor than it may; no `except Exception` on the way stops this."""


def mutate(data: bytes, chance: random.Random, other: bytes, text: bool) -> bytes:
    """The data after one to four changes; other: what a splice takes from; text: by words, mostly, and not by bits."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(chance.choice((len(data), min(len(data), 512))) + 1)
        end = min(len(data), place + chance.choice((1, 2, 4, 8, 16, 64, 512)))
        kind = chance.randrange(10)
        if text and kind < 6:
            words = list(re.finditer(rb"[\w.+-]+|\"[^\"]*\"|\S", data)) or [re.match(b"", data)]
            word = chance.choice(words)
            place, end = word.span() if word else (0, 0)
            data = data[:place] + chance.choice((*EVIL, other[-200:])) + data[end:]
        elif kind < 3:
            flipped = bytes(byte ^ 1 << chance.randrange(8) for byte in data[place : place + chance.choice((1, 1, 4))])
            data = data[:place] + flipped + data[place + len(flipped) :]
        elif kind < 6:
            extreme = chance.choice(EXTREMES)
            data = data[:place] + extreme + data[place + len(extreme) :]
        elif kind == 6:
            data = data[:place]
        elif kind == 7:
            start = chance.randrange(len(other) + 1)
            data = (
                data[:place]
                + other[start : start + chance.choice((1, 16, 512, 5000))]
                + data[chance.choice((place, end)) :]
            )
        elif kind == 8:
            data = data[:place] + data[place:end] * chance.choice((0, 2, 50)) + data[end:]
        else:
            data = data[:place] + bytes([chance.choice((0, 255, chance.randrange(256)))]) * (end - place) + data[end:]
    return data


def inputs(seed: int, targets: list[str], number: int) -> tuple[str, str, bytes]:
    """The target, name and content of the input of this number, which depend on nothing else."""
    chance = random.Random(f"{seed}/{number}")
    target = targets[number % len(targets)]
    files = CORPUS[target]
    name, data = chance.choice(files)
    other = chance.choice(files)[1]
    if name.endswith(".gz") and chance.random() < 0.7:  # what is packed, not the packing, which its checksum protects
        return target, name, gzip.compress(mutate(gzip.decompress(data), chance, other, False), 1, mtime=0)
    return target, name, mutate(data, chance, other, target in TEXT)


def attempt(target: str, path: Path) -> str | None:
    """What is wrong with how the file is read: an error that is not ours, not one line, or one that comes too late."""
    try:
        with _limited(SECONDS):
            TARGETS[target](path)
    except TooLong:
        return f"takes more than {SECONDS} s of a processor\n{traceback.format_exc()}"
    except Exception as error:
        text = str(error)
        if not is_users(error):
            return f"{type(error).__name__}: {text[:500]}\n{traceback.format_exc()}"
        if len(re.split(r"[\n\r]", text)) != 1:
            return f"a message of several lines: {text[:500]!r}"
    return None


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(
    seed: int, numbers: range, folder: Path, targets: list[str], found: Path | None = None
) -> tuple[Counter[str], list[str]]:
    """How many inputs of each target were read, and what is wrong with some, each of which is kept in `found`."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for number in numbers:
        target, name, data = inputs(seed, targets, number)
        path = folder / f"{target}-{hashlib.sha256(data).hexdigest()[:8]}-{name}"
        path.write_bytes(data)
        fault = attempt(target, path)
        counts[target] += 1
        if fault:
            kept = Path(shutil.copy(path, found)) if found else path
            faults.append(f"seed {seed}, input {number}: {fault}\nagain: {sys.executable} {__file__} --repro {kept}\n")
        path.unlink()
    return counts, faults


def _batch(seed: int, first: int, targets: list[str], found: Path) -> int:
    """A process for some inputs, so that one that kills it or fills its memory costs these alone."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + GIB * 2**30, -1))
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        counts, faults = fuzz(seed, range(first, first + BATCH), Path(folder), targets, found)
    print("".join(faults), end="")
    print(f"counts {' '.join(f'{key}={value}' for key, value in counts.items())}")
    return int(bool(faults))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), help="what is read")
    parser.add_argument("--found", type=Path, default=HOME, help="where inputs that fail are kept")
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--repro", type=Path, help="read this input again; its name begins with what reads it")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    if options.repro:
        fault = attempt(options.repro.name.partition("-")[0], options.repro.absolute())
        print(fault or "a value, or one line")
        return int(bool(fault))
    options.found.mkdir(parents=True, exist_ok=True)
    if options.first is not None:
        return _batch(options.seed, options.first, options.only, options.found.absolute())
    print(f"seed {options.seed}; inputs that fail are kept in {options.found}", flush=True)
    end, first, counts, faults = time.monotonic() + 60 * options.minutes, 0, Counter[str](), 0
    while time.monotonic() < end:
        command = [sys.executable, __file__, "--seed", str(options.seed), "--first", str(first)]
        command += ["--found", str(options.found), "--only", *options.only]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        said, _, counted = done.stdout.rpartition("counts ")
        faults += said.count("\nagain: ") + (done.returncode not in (0, 1))
        if done.returncode not in (0, 1):
            said += (
                f"the process of inputs {first} to {first + BATCH} died of {done.returncode}:\n{done.stderr[-3000:]}\n"
            )
            said += f"again: {shlex.join(command)}\n"
        for pair in counted.split():
            counts[pair.partition("=")[0]] += int(pair.partition("=")[2])
        print(said, end="", flush=True)
        first += BATCH
    print(f"{counts.total()} inputs, {faults} faults: {dict(counts)}")
    return int(bool(faults))


CORPUS = corpus()

if __name__ == "__main__":
    sys.exit(main())
