"""What to offer someone who wrote a name that there is none of."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


class DataError(ValueError):
    """Data that cannot be used; the message names the file or key and the remedy (the command line exits with 2)."""


Report = Callable[[DataError], None]


def stop(error: DataError) -> None:
    """The report of a run: the first problem ends it. The doctor of `anomaly-bench data verify` collects them instead."""
    raise error


class NoSpaceError(DataError):
    """The disk would not hold what is to be written: nothing is wrong with the data."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'did you mean X?' if a known name is close, then 'there are …' with up to 20 of them, for the end of a message."""
    names = [str(one) for one in known]
    # modalities and categories differ by case in many releases: FLAIR, flair
    lower = {one.lower(): one for one in reversed(names)}
    close = difflib.get_close_matches(name.lower(), lower, 1)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    there = f"there are {', '.join(names[:20])}{more}"
    return f"did you mean {lower[close[0]]}? ({there})" if close else there
