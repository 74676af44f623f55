"""The errors that a user's command, config or output folder can cause."""

from __future__ import annotations

from data_modules.base.errors import ConfigError as ConfigError
from data_modules.base.errors import DataError
from leaderboard.json_file import ResultError


class OutputError(OSError):
    """A folder that cannot be written to; the message names it and the remedy (exit code 2)."""


def is_users(error: Exception) -> bool:
    """Whether the user can mend it, so that a message is all they need."""

    return isinstance(error, ConfigError | DataError | OutputError | ResultError)
