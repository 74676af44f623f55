"""The pictures of the page: effects on each dataset, curves over beta, cases."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from leaderboard.board import Board
from leaderboard.show.figures.curves import beta_figure, looks_of
from leaderboard.show.figures.forest import claim_figures
from leaderboard.show.figures.write import save_figures
from leaderboard.verdicts.claims import evaluate

from .answers import FIRST, single_runs

CURVES = ("rec_l1", "rec_ssim", "grad_kl", "grad_elbo", "combination", "projection", "ensemble_probit", "intensity")
SHOWABLE = ("tiny_brain", "tiny_texture", "open_ms")  # made here, or CC BY
LARGEST = 150_000  # bytes of a copied picture
WIDTH = 1700  # of a copied picture, in pixels
DPI = 110


def write_pictures(board: Board, folder: Path) -> list[Path]:
    """Write every picture that there is something to show of; their paths, named by what they show."""
    drawn = save_figures(_figures(board), folder, ["png"], DPI)
    for dataset in SHOWABLE:
        runs = [run for run in single_runs(board) if run.dataset == dataset and run.folder is not None]
        found = (Path(run.folder or "", "pictures", "overview.png") for run in runs)
        source = next((path for path in found if path.is_file()), None)
        if source is not None:
            drawn.append(folder / f"cases_{dataset}.jpg")
            drawn[-1].write_bytes(small_copy(source))
    return drawn


def _figures(board: Board) -> Iterator[tuple[str, Figure]]:
    for finding, figure in claim_figures(evaluate(board.rows, FIRST), board.runs):
        yield f"effect_{finding.name}", figure
    looks = looks_of(board)
    for dataset in board.datasets:
        members = [
            one
            for one in board.curves
            if (one.dataset, one.metric) == (dataset, FIRST)
            and one.predictor in CURVES
            and len(one.points) > 1
            and any(point.test.mean is not None for point in one.points)
        ]
        if members:
            yield f"beta_{dataset}", beta_figure(members, looks)


def small_copy(path: Path) -> bytes:
    """The picture as a JPEG at most WIDTH pixels wide and, as far as its quality allows, of at most LARGEST bytes."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((WIDTH, 4 * WIDTH))
    data = b""
    for quality in (85, 70, 50, 30):
        stream = BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        data = stream.getvalue()
        if len(data) <= LARGEST:
            break
    return data
