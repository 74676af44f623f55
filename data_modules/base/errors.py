"""What is wrong with data, and what to offer someone who wrote a name that there is none of."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


class ConfigError(ValueError):
    """A config or command that cannot be carried out; the message names the key and the remedy (exit code 2)."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file or key and the remedy (the command line exits with 2)."""


Report = Callable[[DataError], None]


def stop(error: DataError) -> None:
    """The report of a run: the first problem ends it. The doctor of `anomaly-bench data verify` collects them instead."""
    raise error


class NoSpaceError(DataError):
    """The disk would not hold what is to be written: nothing is wrong with the data."""


def closest(word: str, options: Iterable[str]) -> str | None:
    """The option that is most like a word, if any is."""
    # modalities and categories differ by case in many releases: FLAIR, flair
    lower = {option.lower(): option for option in reversed(list(options))}
    close = difflib.get_close_matches(word.lower(), lower, 1)
    return lower[close[0]] if close else None


def did_you_mean(word: str, options: Iterable[str], otherwise: str = "") -> str:
    """For the end of a message: 'did you mean X? (otherwise)' if an option is close, else 'otherwise' alone.

    otherwise: where to find the right word; not given, 'there are …' with up to 20 of the options.
    """
    names = [str(option) for option in options]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    otherwise = otherwise or f"there are {', '.join(names[:20])}{more}"
    close = closest(word, names)
    return f"did you mean {close}? ({otherwise})" if close else otherwise
