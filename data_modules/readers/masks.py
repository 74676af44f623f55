"""The one rule that says which numbers of a mask are anomalous, for every reader of masks; docs/datasets.md states it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.base.errors import DataError

CLASSES = 64  # the highest number of a class or of a region; what is above is a grey
LEVELS = 4  # a mask with as many different greys between black and white has soft edges; fewer may be classes
EDGE = 1 / 8  # of the range: greys no farther from its ends are black or white that a codec changed
WHOLE = (
    1e-3  # how far numbers may be from the whole numbers that they stand for, as others' programs scale and store them
)
WHITE = {np.dtype(np.bool_): 1.0, np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
IN_PICTURES = "set dataset.mask_threshold to the grey, from 0 to 1, above which a pixel is anomalous"
IN_VOLUMES = "set dataset.anomalous_labels to the numbers that are"
BY_OPTION = "give --mask-threshold the grey, from 0 to 1, above which a pixel is anomalous"
BY_FILE = "write 0 where nothing is anomalous, and one other number elsewhere"  # where the settings stay


def anomalous_in(
    numbers: NDArray[Any],
    source: str,
    remedy: str,
    white: float | None = None,
    threshold: float | None = None,
    lossy: bool = False,
    out: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """What a mask says is anomalous, in the shape of its numbers, which are finite; see `rounded`.

    white: the number of a pixel that is fully set; if not given, that of the type of `numbers`, 1 of floats up to 1, else
    unknown. threshold: the share of white that anomalous numbers exceed. Without one, 0 is normal, and what is above 0 is
    anomalous if all other numbers are one and the same, or whole and at most CLASSES. Greys are anomalous above half of
    white if some of them, in few pixels, lie between black and white: the soft edges of a resampled or compressed mask.

    lossy: whether a codec has changed the numbers, so that few greys are soft edges as well.

    Raises DataError naming the source, and the remedy, for numbers below 0, any others, and where most is anomalous up to the
    border: the mask may be inverted.
    """
    numbers = rounded(numbers)
    if white is None:
        white = WHITE.get(numbers.dtype, 1.0 if numbers.dtype.kind == "f" and numbers.max() <= 1 else None)
    if threshold is not None:
        return np.greater(numbers, threshold * (white or 1.0), out=out)
    if (low := numbers.min()) < 0:
        raise DataError(f"{source}: a mask with numbers below 0, down to {low:g}; write 0 where nothing is anomalous")
    limit = 0 if _is_plain(numbers) else _half(numbers, white, source, remedy, 0 if lossy else LEVELS)
    whole = numbers.dtype.kind in "iu"  # which NumPy compares with a whole number ten times as quickly as with a float
    mask: NDArray[np.bool_] = np.greater(numbers, int(limit) if whole else limit, out=out)
    if is_inverted(mask):
        share = np.count_nonzero(mask) / mask.size
        right = BY_FILE if remedy == BY_FILE else f"write 0 where nothing is anomalous, or, if so much is, {remedy}"
        raise DataError(
            f"{source}: {share:.0%} of the mask is anomalous, its border too, as if it were inverted; {right}"
        )
    return mask


def is_inverted(mask: NDArray[np.bool_]) -> bool:
    """Whether most of a mask is set, and most of its border."""
    if 2 * np.count_nonzero(mask.ravel(order="K")) <= mask.size:
        return False
    long = [axis for axis in range(mask.ndim) if mask.shape[axis] > 1]
    return bool(np.mean([mask.take(side, axis).mean() for axis in long for side in (0, -1)] or [1.0]) > 0.5)


def rounded(numbers: NDArray[Any]) -> NDArray[Any]:
    """The whole numbers that all of them are within WHOLE; else, and where they are integers, themselves."""
    if numbers.dtype.kind != "f":
        return numbers
    whole: NDArray[Any] = np.rint(numbers)
    return whole if np.abs(numbers - whole).max() <= WHOLE else numbers


def has_greys(numbers: NDArray[Any]) -> bool:
    """Whether a mask is neither 0 and one other number, nor classes."""
    return not _is_plain(rounded(numbers))


def _is_plain(numbers: NDArray[Any]) -> bool:
    high = numbers.max()
    if high <= CLASSES and (numbers.dtype.kind != "f" or np.array_equal(numbers, np.rint(numbers))):
        return True
    return bool(((numbers == 0) | (numbers == high)).all())


def _half(numbers: NDArray[Any], white: float | None, source: str, remedy: str, least: int) -> float:
    """Half of white. Raises DataError if the numbers are not the greys of soft edges."""
    levels, counts = np.unique(numbers, return_counts=True)
    if white is not None:
        bright = counts[levels >= (1 - EDGE) * white].sum()
        between = counts[(levels > EDGE * white) & (levels < (1 - EDGE) * white)]
        if len(between) >= least and between.sum() <= 2 * bright:
            return white / 2
    some = ", ".join(f"{level:.4g}" for level in levels[:4]) + (f", … {levels[-1]:.4g}" if len(levels) > 4 else "")
    raise DataError(f"{source}: a mask with the numbers {some}, of which it is not said which are anomalous; {remedy}")
