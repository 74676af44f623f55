"""The defects of ``tiny_texture``: each changes a region of an image ``(H, W, 3)`` and says which pixels it took."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from .fields import BoolArray, FloatArray, irregular_region, largest_component, soft_edge, spline_field

EDGE = 1  # the soft edge of a defect reaches at most this many pixels beyond its mask
DefectResult = tuple[FloatArray, BoolArray]


def _blob(rng: np.random.Generator, side: int, radii: tuple[float, float]) -> BoolArray:
    """An irregular region away from the border, of a radius in pixels drawn from ``radii``."""
    radius = rng.uniform(*radii)
    center = rng.uniform(radius + 1, side - radius - 1, 2)
    return largest_component(irregular_region(rng, (side, side), center.tolist(), radius) > 0)


def _mixed(image: FloatArray, changed: FloatArray, region: BoolArray) -> FloatArray:
    """``changed`` inside the region, ``image`` outside, with a soft edge of ``EDGE`` pixels."""
    alpha = soft_edge(region, radius=EDGE)[..., None]
    return image + alpha * (changed - image)


def scratch(rng: np.random.Generator, image: FloatArray) -> DefectResult:
    """A thin bright or dark curved line, 1.5 to 3 pixels wide."""
    side = image.shape[0]
    length, angle, bow = rng.uniform(18, 40), rng.uniform(0, np.pi), rng.uniform(-5, 5)
    t = np.linspace(-0.5, 0.5, 50)
    along, aside = length * t, bow * (1 - 4 * t**2)
    middle = rng.uniform(side * 0.3, side * 0.7, 2)
    path_rows = middle[0] + along * np.sin(angle) + aside * np.cos(angle)
    path_columns = middle[1] + along * np.cos(angle) - aside * np.sin(angle)
    rows, columns = np.indices((side, side))
    distance = np.hypot(rows[..., None] - path_rows, columns[..., None] - path_columns).min(axis=-1)
    region = distance <= rng.uniform(0.75, 1.5)
    strength = rng.uniform(0.2, 0.4)
    changed = image * (1 - 1.6 * strength) if rng.random() < 0.5 else image + strength
    return _mixed(image, changed, region), region


def stain(rng: np.random.Generator, image: FloatArray) -> DefectResult:
    """A blob of another hue and brightness through which the texture shows."""
    region = _blob(rng, image.shape[0], (5, 11))
    hue = rng.normal(0.0, 1.0, 3)
    tint = rng.uniform(0.12, 0.3) * hue / np.linalg.norm(hue)
    uneven = 1 + 0.2 * spline_field(rng, image.shape[:2], 5)
    return _mixed(image, image * 0.9 + 0.05 + tint * uneven[..., None], region), region


def hole(rng: np.random.Generator, image: FloatArray) -> DefectResult:
    """The texture is worn away: its local mean remains, so brightness alone does not show it."""
    region = _blob(rng, image.shape[0], (4, 9))
    worn = ndimage.gaussian_filter(image, (5, 5, 0), mode="reflect")
    return _mixed(image, worn, region), region


def shift(rng: np.random.Generator, image: FloatArray) -> DefectResult:
    """A patch of the same material put in wrongly: turned by 90 degrees and displaced by about half a period."""
    side = image.shape[0]
    region = _blob(rng, side, (5, 10))
    turned = np.roll(np.rot90(image, int(rng.choice((1, 3)))), rng.integers(3, 6, 2), axis=(0, 1))
    return _mixed(image, turned, region), region


DEFECTS: dict[str, Callable[[np.random.Generator, FloatArray], DefectResult]] = {
    "hole": hole,
    "scratch": scratch,
    "shift": shift,
    "stain": stain,
}
