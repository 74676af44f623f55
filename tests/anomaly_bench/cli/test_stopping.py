"""A signal ends a command with one message, the exit code of the signal, and no traceback, however often it comes."""

import signal
import subprocess
import sys
import time

import pytest
from small_runs import tiles

# a command that is at work, whose end takes long, in a process that nothing heavy is imported into
COMMAND = """
import argparse, time
from anomaly_bench.cli import main

def call(options):
    print("at work", flush=True)
    try:
        time.sleep(60)
    finally:
        time.sleep({end})

main._parse = lambda arguments: argparse.Namespace(verb=call, debug=False, command="anomaly-bench bench")
raise SystemExit(main.main([]))
"""


@pytest.mark.parametrize(
    ("signals", "end", "code", "name"),
    [
        ([signal.SIGTERM], 0, 143, "SIGTERM"),
        ([signal.SIGINT], 0, 130, "Ctrl-C"),
        ([signal.SIGINT, signal.SIGINT], 60, 130, "Ctrl-C"),
        ([signal.SIGTERM, signal.SIGINT], 60, 143, "SIGTERM"),
        ([signal.SIGHUP], 0, 129, "SIGHUP"),
    ],
)
def test_one_message_and_the_code_of_the_signal(signals, end, code, name):
    command = [sys.executable, "-c", COMMAND.format(end=end)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "at work\n"
        for number in signals:
            process.send_signal(number)
            time.sleep(0.1)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err == (
        f"anomaly-bench bench: interrupted by {name}; what was finished is kept, and the checkpoints of runs under way: "
        "start the same command again to go on\n"
    )


@pytest.mark.slow
def test_modules_in_the_working_folder_are_not_imported(tmp_path):
    for name in ("html", "json", "torch", "selectors"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')\n")
    command = [
        sys.executable,
        "-m",
        "anomaly_bench",
        "bench",
        *tiles(tmp_path),
        f"out={tmp_path / 'runs'}",
        "--dry-run",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 runs, 0 done" in done.stdout
