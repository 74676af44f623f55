"""Whether W&B's server is there, asked before anything is sent that W&B itself would retry for days."""

from __future__ import annotations

from ..errors import ConfigError
from .wandb_start import logged_in

LIMIT = 5.0  # seconds for an answer


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


def base_url() -> str:
    import wandb

    return str(wandb.setup(wandb.Settings(silent=True)).settings.base_url)
