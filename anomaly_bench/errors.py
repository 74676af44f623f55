"""The errors that a user's command, config or output folder can cause."""


class ConfigError(ValueError):
    """A config or command that cannot be carried out; the message names the key and the remedy (exit code 2)."""


class OutputError(OSError):
    """A folder that cannot be written to; the message names it and the remedy (exit code 2)."""
