"""The histograms of `describe` as a picture: intensities per channel and region sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .describe import Description, size_bins

NORMAL, ANOMALOUS = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion


def draw_histograms(description: Description, path: Path) -> None:
    """Write a PNG: the intensities of normal and anomalous foreground pixels per channel, and the sizes of regions."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = len(description.intensities) + 1
    columns = 2 if panels in (2, 4) else 3
    lines = -(-panels // columns)
    figure = Figure(figsize=(4.6 * columns, 3.4 * lines), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axis, channel in zip(axes, description.intensities, strict=False):
        for name, counts, colour in (("normal", channel.normal, NORMAL), ("anomalous", channel.anomalous, ANOMALOUS)):
            if density := _density(counts, channel.edges):
                axis.stairs(density, channel.edges, fill=True, alpha=0.3, color=colour)
                axis.stairs(density, channel.edges, color=colour, linewidth=1.5, label=f"{name} pixels")
        axis.set(title=f"intensity, {channel.channel}", xlabel="intensity as the model sees it", ylabel="density")
    bins = size_bins(description.regions)
    labels = [str(low) if low == high else f"{low}–{high}" for low, high, _ in bins]
    axes[panels - 1].bar(range(len(bins)), [count for *_, count in bins], color=ANOMALOUS, width=0.85)
    axes[panels - 1].set_xticks(range(len(bins)), labels, rotation=40, ha="right")
    axes[panels - 1].set(title="anomalous regions", xlabel="pixels of a region, in a slice", ylabel="regions")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[panels:]:
        axis.set_visible(False)
    share = description.parts["all"].share
    figure.suptitle(f"{description.dataset}: {share:.2%} of the foreground is anomalous", x=0.01, ha="left")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path)


def _density(counts: Sequence[int], edges: Sequence[float]) -> list[float]:
    total = sum(counts)
    return [count / total / (edges[1] - edges[0]) for count in counts] if total else []
