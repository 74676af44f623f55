"""Push runs that W&B has not got, or not all of."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from tempfile import TemporaryDirectory

from anomaly_bench.base.errors import ConfigError

from .start import base_url, logged_in

LIMIT = 5.0  # seconds for an answer
SENT = ".synced"  # what W&B leaves beside a run file that it has sent
PATIENCE = 10.0  # seconds after which the server is asked whether it is still there


def require_login() -> None:
    """Raises ConfigError where this machine has no credentials for W&B; asks no server."""
    if not logged_in():
        raise ConfigError(f"not logged in to W&B at {base_url()}: use `wandb login`, or set WANDB_API_KEY")


def require_answer() -> None:
    """Raises ConfigError if the server is not reached, has failed, or is silent for LIMIT seconds."""
    import requests

    try:
        answer = requests.post(f"{base_url()}/graphql", json={"query": "{ __typename }"}, timeout=LIMIT)
        failed = f"status {answer.status_code}" if answer.status_code >= 500 or answer.status_code == 429 else None
    except requests.RequestException as error:
        failed = type(error).__name__
    if failed is not None:
        raise ConfigError(
            f"W&B at {base_url()} does not answer ({failed}): check the network and WANDB_BASE_URL, then start the same "
            "command again"
        )


@dataclass(frozen=True)
class Unsent:
    """The folder of a W&B run that has not been sent; name: that of the run's folder; size in bytes."""

    folder: Path
    name: str
    size: int


def unsent_runs(out: Path) -> list[Unsent]:
    """The W&B runs below a folder that are not at W&B, by name: logged offline, or not sent in time.

    Of a run with several attempts, the last: each logs what the one before it did. A file that grew after it was sent, as
    that of a run that was still going on, is to be sent again. Raises ConfigError without the folder.
    """
    if not out.is_dir():
        raise ConfigError(
            f"{out}: expected the folder that runs were written to, found none; give the `out` of the runs"
        )
    last: dict[tuple[Path, str], Path] = {}
    for file in out.glob("**/wandb/*run-*/run-*.wandb"):
        key = file.parents[1], file.stem
        last[key] = max(
            last.get(key, file), file, key=lambda one: one.parent.name.removeprefix("offline-")
        )  # by its start
    unsent = []
    for _, file in sorted(last.items()):
        if file.parent.name.startswith("offline-") and not _sent(file):
            size = sum(path.stat().st_size for path in file.parent.rglob("*") if path.is_file())
            unsent.append(Unsent(file.parent, file.parents[2].name, size))
    return unsent


def _sent(file: Path) -> bool:
    mark = file.with_name(file.name + SENT)
    return mark.exists() and mark.stat().st_mtime >= file.stat().st_mtime


def send(run: Unsent) -> str | None:
    """Push a run; None, or in a line why it could not be sent.

    Raises ConfigError when the server falls silent on the way, which W&B would wait out for days.
    """
    command = [sys.executable, "-m", "wandb", "sync", "--yes", "--include-synced", str(run.folder.resolve())]
    with (
        TemporaryDirectory() as scratch,  # W&B writes its log into a folder `wandb` of the one it is started in
        Popen(command, cwd=scratch, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, text=True) as process,
    ):
        said = _watched(process)
    if process.returncode == 0 and all(_sent(file) for file in run.folder.glob("run-*.wandb")):
        return None
    lines = [line for line in said.splitlines() if line.strip()]
    return (lines or ["W&B said nothing"])[-1].removeprefix("wandb: ").removeprefix("ERROR ")


def _watched(process: Popen[str]) -> str:
    """What a process says until it ends; it is stopped when the server is not there any more."""
    while True:
        try:
            return process.communicate(timeout=PATIENCE)[0]
        except TimeoutExpired:
            try:
                require_answer()
            except ConfigError:
                process.terminate()
                raise
