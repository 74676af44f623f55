"""The verb `data describe`: what a dataset holds, in numbers and bars, and its pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_bench.base.files import check_writable, explained
from anomaly_bench.base.text import plural
from anomaly_bench.cli.arguments import Records

from .prepare import add_datasets, prepared

if TYPE_CHECKING:
    from rich.console import Console

    from data_modules.inspect.describe import Description, Intensities

ABOUT = "what a dataset holds, in numbers and pictures"
EXAMPLE = "dataset=brats dataset.root=/data/BraTS --out brats_pictures"
BLOCKS = " ▁▂▃▄▅▆▇█"
SPARK, INDENT = 64, 12  # columns of a histogram, and before it
BAR, LABEL, COUNT = 40, 16, 8  # columns of a bar, before and after it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="for the pictures; default: describe/<dataset>")
    add_datasets(parser)


def call(options: argparse.Namespace) -> tuple[int, Records]:
    from anomaly_bench.base.bars import bar
    from anomaly_bench.config.grid import load_grid
    from data_modules.base.names import dataset_name
    from data_modules.inspect.contact_sheet import contact_sheet
    from data_modules.inspect.describe import describe
    from data_modules.inspect.histograms import draw_histograms

    remedy = "choose another folder (--out DIR)"
    configs = load_grid(options.overrides)
    names = [dataset_name(config.dataset) for config in configs]
    found = []
    for config, name in zip(configs, names, strict=True):
        check_writable(options.out or Path("describe"), remedy)
        data = prepared(config)
        data.setup()
        folder = name if names.count(name) == 1 else data.store.folder.name
        out = options.out if options.out and len(configs) == 1 else (options.out or Path("describe")) / folder
        with bar("describe") as progress:
            description = describe(data, progress)
        with explained(out, remedy):
            out.mkdir(parents=True, exist_ok=True)
            contact_sheet(data, out / "sheet.png")
            draw_histograms(description, out / "histograms.png")
        pictures = [str(out / file) for file in ("sheet.png", "histograms.png")]
        _print_description(description)
        print(f"\nPictures  {', '.join(pictures)}")
        found.append(description.to_dict() | {"pictures": pictures})
    return 0, found


def _print_description(description: Description) -> None:
    """Splits, intensities, region sizes and attributes."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    size = "×".join(str(side) for side in description.size)
    console.print(f"[bold]{escape(description.dataset)}[/bold] in {escape(description.root)}", soft_wrap=True)
    console.print(
        f"{', '.join(description.channels)}; {size} pixels; fingerprint {description.fingerprint}\n", soft_wrap=True
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("split")
    for title in (f"{description.unit}s", "slices", "normal", "anomalous", "anomalous pixels"):
        table.add_column(title, justify="right")
    for name, part in description.parts.items():
        counts = (part.subjects, part.slices, part.normal, part.anomalous)
        table.add_row(name, *(f"{count:,}" for count in counts), f"{part.share:.3%}")
    console.print(table)
    if description.dropped:
        console.print(f"{description.dropped:.1%} of the anomalous voxels lie in slices that were left out")
    _sources(description, console)
    for channel in description.intensities:
        _intensities(channel, console)
    _regions(description, console)
    _attributes(description, console)


def sparkline(counts: Sequence[int], width: int) -> str:
    """Counts as a line of blocks, the highest bin full; bins are added up to `width` of them."""
    import numpy as np

    edges = np.linspace(0, len(counts), min(width, len(counts)) + 1).round().astype(int)
    bins = [sum(counts[first:last]) for first, last in pairwise(edges)]
    top = max(bins, default=0) or 1
    # what is there at all shows at least the lowest block
    return "".join(BLOCKS[max(round(count / top * (len(BLOCKS) - 1)), count > 0)] for count in bins)


def _sources(description: Description, console: Console) -> None:
    for title, sizes in (("files", description.sources), ("sliced as", description.grids)):
        if sizes and (title == "files" or set(sizes) != set(description.sources)):
            found = [f"{what} ({count})" for what, count in list(sizes.items())[:3]]
            more = f" and {plural(len(sizes) - 3, 'other size')}" if len(sizes) > 3 else ""
            console.print(f"{title:<11}{', '.join(found)}{more}", markup=False)


def _intensities(channel: Intensities, console: Console) -> None:
    console.print(f"\nintensity of the foreground, {channel.channel}", markup=False)
    width = SPARK
    while width > max(console.width - INDENT, 8):  # halves, so that every column has as many bins
        width //= 2
    for name, counts in (("normal", channel.normal), ("anomalous", channel.anomalous)):
        console.print(f"  {name:<10}{sparkline(counts, width)}", markup=False)
    low, high = f"{channel.edges[0]:.3g}", f"{channel.edges[-1]:.3g}"
    console.print(f"{'':<{INDENT}}{low}{high:>{width - len(low)}}")


def _regions(description: Description, console: Console) -> None:
    from data_modules.inspect.describe import size_bins

    bins = size_bins(description.regions)
    if not bins:
        return
    console.print(f"\nanomalous regions, {sum(description.regions.values()):,}, by pixels of a region in a slice")
    top, width = max(count for *_, count in bins), max(min(BAR, console.width - LABEL - COUNT), 2)
    for low, high, count in bins:
        label = str(low) if low == high else f"{low}–{high}"
        full, part = divmod(round(count / top * width * 8), 8)
        console.print(f"  {label:>12}  {'█' * full}{' ▏▎▍▌▋▊▉'[part].strip()} {count:,}")


def _attributes(description: Description, console: Console) -> None:
    if description.attributes:
        console.print(f"\nattributes of the {description.unit}s")
    for name, found in description.attributes.items():
        if "counts" in found:
            shown = [f"{value} {count}" for value, count in list(found["counts"].items())[:8]]
            text = ", ".join(shown) + (f", {len(found['counts']) - 8} more" if len(found["counts"]) > 8 else "")
        else:
            text = f"{found['min']:g} to {found['max']:g}, median {found['median']:g}"
        missing = f"; unknown of {found['missing']}" if found["missing"] else ""
        console.print(f"  {name}: {text}{missing}", markup=False)
