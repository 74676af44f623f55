"""The error that a user's data can cause."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file or key and the remedy (the command line exits with 2)."""
