"""Start a W&B run: online with a login and an answering server, else offline; never a wait that a run would feel."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.tracking.names import PROJECT

if TYPE_CHECKING:
    import wandb

INIT_TIMEOUT = 5.0  # seconds; $WANDB_INIT_TIMEOUT
FINISH_TIMEOUT = 8.0  # seconds to send what is left, then `wandb sync` has to; $WANDB_FINISH_TIMEOUT
SERVICE_TIMEOUT = 8.0  # seconds for W&B's own process to come up
MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")  # of W&B
SYNC = "push it later with `anomaly-bench wandb sync FOLDER`"


def start(
    folder: Path, run_id: str, name: str, group: str, job_type: str, tags: Sequence[str], config: Mapping[str, Any]
) -> wandb.Run | None:
    """A W&B run whose files are in `folder`/wandb, or None, with a warning, if there cannot be one.

    $WANDB_MODE decides between online, offline and disabled; without it, it is online if this machine is logged in. Of the
    machine nothing is logged: no host name, no path, no environment, no code; $WANDB_HOST adds a host name. Raises ConfigError
    for a $WANDB_MODE that is none.
    """
    check_environment()
    try:
        import wandb
    except ImportError as error:
        _warn(error)
        return None
    _report_nothing()
    about = {"name": name, "group": group, "job_type": job_type, "tags": list(tags), "config": dict(config)}
    try:
        mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        try:
            return _init(folder, run_id, mode, about)
        except wandb.errors.Error as error:
            if mode != "online":
                raise
            warnings.warn(f"W&B does not answer ({_line(error)}); logging offline, {SYNC}", stacklevel=2)
            wandb.teardown()  # the failed start still holds the run's id
            return _init(folder, run_id, "offline", about)
    except Exception as error:  # an unreachable or refusing server must not cost a run
        _warn(error)
        return None


def check_environment() -> None:
    """Forget W&B's variables that are empty, which W&B takes for values. Raises ConfigError for a WANDB_MODE that is none."""
    for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]:
        del os.environ[name]
    if (mode := os.environ.get("WANDB_MODE", MODES[0])) not in MODES:
        raise ConfigError(
            f"WANDB_MODE={mode}: expected online, offline or disabled; unset it for online where there is a login, else offline"
        )


def _report_nothing() -> None:
    """No reports on itself from W&B.

    They hold tracebacks, with paths; the end of the process waits for them; and while they are on, W&B waits for ever for
    itself if its own process cannot start (0.31).
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    with suppress(ImportError):
        from wandb.analytics.opentelemetry.opentelemetry_proxy import disable

        disable()


def logged_in() -> bool:
    """Whether there are credentials for W&B's server, in the environment or in .netrc; asks no server."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        return netrc(os.environ.get("NETRC")).authenticators(urlsplit(base_url()).hostname or "") is not None
    except (OSError, ValueError, NetrcParseError):  # ValueError: not text
        return False


def base_url() -> str:
    """The address of W&B's server, as the environment or W&B's own settings have it."""
    return str(_set_up().settings.base_url)


def _init(folder: Path, run_id: str, mode: str, about: Mapping[str, Any]) -> wandb.Run:
    import wandb

    if mode == "offline":
        forget(folder, run_id)
    _set_up()
    sweep = "WANDB_SWEEP_ID" in os.environ  # whose agent gives its runs their ids
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        dir=folder,
        id=os.environ.get("WANDB_RUN_ID", run_id) if sweep else run_id,
        resume="allow",
        settings=settings(mode),
        **about,
    )


def _set_up() -> Any:
    """What all runs of this process share. Raises ConfigError for a variable that W&B does not take."""
    import wandb

    check_environment()
    try:
        return wandb.setup(wandb.Settings(silent=True, x_service_wait=SERVICE_TIMEOUT))
    except ValueError as error:  # pydantic's
        raise ConfigError(f"W&B does not take its settings, from WANDB_… or its own files: {_line(error)}") from error


def settings(mode: str) -> wandb.Settings:
    """Of a run: nothing of the machine, nothing printed, no waiting."""
    import wandb

    return wandb.Settings(
        mode=mode,  # type: ignore[arg-type]  # the environment may say anything; W&B checks it
        silent=True,
        symlink=False,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        host=os.environ.get("WANDB_HOST", ""),
        program="",
        init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", INIT_TIMEOUT)),
        finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_TIMEOUT)),
        finish_timeout_raises=True,
        x_disable_stats=True,
        x_disable_viewer=True,  # a question to the server that would be waited for first
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


def forget(folder: Path, run_id: str) -> None:
    """Remove what an interrupted attempt at this run has left offline: the next one logs its history again."""
    for old in (folder / "wandb").glob(f"offline-run-*-{run_id}"):
        shutil.rmtree(old, ignore_errors=True)


def keep_for_sync(folder: Path) -> None:
    """Make the folder of an online run whose end the server has not got one of those that `wandb sync` pushes."""
    if folder.name.startswith("run-"):
        folder.rename(folder.with_name(f"offline-{folder.name}"))


def _warn(error: Exception) -> None:
    warnings.warn(f"W&B could not start ({type(error).__name__}: {_line(error)}); going on without it", stacklevel=3)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
