"""The scale of map pictures: the share of normal validation pixels that score lower, alike for all images and predictors."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import ArrayLike, NDArray

Picture = NDArray[np.uint8]
DECADES = 4  # the scale ends where one normal pixel in ten thousand scores as high
LABELLED = (0.5, 0.9, 0.99, 0.999, 0.9999)
PALETTE, PAPER = "inferno", (255, 255, 255)


def heights_of(shares: ArrayLike, lowest: float = 0.0) -> NDArray[np.float32]:
    """Where shares stand on the scale, in [0, 1]: 0 up to `lowest`, 1 from 99.99 % on, alike for each ten times fewer above."""
    rarer, start = (
        -np.log10(np.clip(1 - np.asarray(part, dtype=np.float64), 10.0**-DECADES, 1)) for part in (shares, lowest)
    )
    return ((rarer - start) / (DECADES - start)).clip(0, 1).astype(np.float32)  # type: ignore[no-any-return]


def share_text(share: float) -> str:
    """A share as it labels the scale: 99.9 %."""
    return f"{100 * share:.6g} %"


def coloured(heights: NDArray[Any], foreground: NDArray[np.bool_]) -> Picture:
    """Heights (H, W) in [0, 1] in colours, (H, W, 3); outside the foreground, where no score counts, the paper shows."""
    colours = (colormaps[PALETTE](heights)[..., :3] * 255).astype(np.uint8)
    return np.where(foreground[..., None], colours, np.array(PAPER, dtype=np.uint8))
