"""Folders that are read-only for a user, before and while a command works: root, whom nothing stops, becomes a user for it."""

import json
import os
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
from small_runs import replaced, tiles

# loads all beforehand, as Python itself may lie in root's home, which a user may not enter
COMMAND = """
import contextlib, importlib, json, os, sys, threading, time
from pathlib import Path

import anomaly_bench.sweep.bench, anomaly_bench.sweep.plan, anomaly_bench.sweep.worker
from anomaly_bench.cli.main import main

for name in sorted(sys.stdlib_module_names - {"antigravity", "this", "turtledemo", "idlelib"}):
    with contextlib.suppress(Exception):
        importlib.import_module(name)

def shut(place, when, folder):
    while not any(place.glob(when)):
        time.sleep(0.001)
    next(place.glob(folder)).chmod(0o555)

for place, when, folder, arguments in json.loads(sys.argv[1]):
    if (child := os.fork()) == 0:
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        os.chdir(place)
        thread = threading.Thread(target=shut, args=(Path(place), when, folder), daemon=True)
        thread.start()
        if when == folder:
            thread.join()
        code = 99
        try:
            code = main(arguments)
        finally:
            print(f"exit code {code}", file=sys.stderr, flush=True)
            os._exit(0)
    os.waitpid(child, 0)
"""
OUT, CACHE = "out=FOLDER", "cache_dir=FOLDER, or ANOMALY_BENCH_CACHE=FOLDER"
CASES = [  # what is shut when there is which file, and which folder is named then
    ("runs", "runs", "runs", OUT),
    ("cache", "cache", "cache/locks", CACHE),
    ("runs/*beta*", "runs/*/*.ckpt", "runs/*", OUT),
]


@pytest.fixture
def entered():
    """A folder that everybody may enter, unlike what pytest makes."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
def test_a_folder_that_is_or_becomes_read_only_is_named(entered):
    started = []
    for number, (folder, when, *_) in enumerate(CASES):
        place = entered / str(number)
        arguments = ["bench", *replaced(tiles(place), "jobs=0", "predictors=fast", "trainer.max_epochs=40")]
        for made in ("cache", "runs"):
            (place / made).mkdir()
        for path in (place, *place.rglob("*")) if os.getuid() == 0 else ():
            os.chown(path, 65534, 65534)
        started.append((str(place), when, folder, [*arguments, f"out={place / 'runs'}"]))
    command = [sys.executable, "-c", COMMAND, json.dumps(started)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    ends = [line for line in said.splitlines() if line.startswith(("anomaly-bench: ", "exit code"))]
    assert ends[1::2] == ["exit code 2"] * len(CASES), said
    for (place, *_), (_, _, named, remedy), line in zip(started, CASES, ends[::2], strict=True):
        folder, _, rest = line.removeprefix("anomaly-bench: ").partition(": ")
        assert fnmatch(folder, f"{place}/{named}")
        assert rest == f"there is no permission to write: choose another folder ({remedy}); what was finished is kept"
