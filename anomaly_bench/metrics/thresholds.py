"""Operating points and calibration, read off *dense* histograms: int64 tensors (bins,), ascending in score."""

from __future__ import annotations

from torch import Tensor


def threshold_at_fpr(normal: Tensor, fpr: float) -> int:
    """The lowest bin t such that the share of normal pixels in bins >= t is at most `fpr`.

    `fpr` 1 gives bin 0, so all pixels count as anomalous; 0 gives the bin above the highest normal pixel, which is
    len(normal), so that no pixel does, when normal pixels reach the last bin.

    Raises:
        ValueError: `fpr` is outside [0, 1], or there is no normal pixel.
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"expected a false-positive rate in [0, 1], got {fpr}")
    share = normal.flip(0).cumsum(0).double() / _total(normal)
    return len(normal) - int((share <= fpr).sum())


def dice_at(normal: Tensor, anomalous: Tensor, threshold_bin: int) -> float | None:
    """Dice of calling the pixels in bins >= `threshold_bin` anomalous; exact. None without an anomalous pixel."""
    total = int(anomalous.sum())
    if total == 0:
        return None
    hits = int(anomalous[threshold_bin:].sum())
    return 2 * hits / (hits + int(normal[threshold_bin:].sum()) + total)


def mid_cdf(normal: Tensor) -> Tensor:
    """Per bin, the share of normal pixels in lower bins plus half the share in the same bin; float64 in [0, 1].

    Raises:
        ValueError: there is no normal pixel.
    """
    return (normal.cumsum(0).double() - normal.double() / 2) / _total(normal)


def _total(normal: Tensor) -> Tensor:
    total = normal.sum()
    if not bool(total):
        raise ValueError("expected at least one normal foreground pixel, got none; update with normal images first")
    return total
