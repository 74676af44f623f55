"""A leaderboard as one W&B run: its tables, its figures, its report, and an artifact that names the runs behind it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.base.digests import hash_of

from .start import SYNC, start

if TYPE_CHECKING:
    import wandb

    from leaderboard.board import Board

VIEWS = ("beta", "chosen", "ranks", "domains", "versus", "claims")


def log_leaderboard(folder: Path, board: Board, files: Sequence[Path]) -> str:
    """Log the board of a folder of runs, and the files written of it; in a line what came of it.

    The same runs give the same W&B run, so that logging again brings it up to date. W&B that fails is a warning.
    """
    ids = sorted(run.run_id for run in board.runs)
    run_id = f"leaderboard-{hash_of(ids, 8)}"
    config = {"datasets": board.datasets, "runs": ids}
    name = f"leaderboard of {len(ids)} runs"
    run = start(folder, run_id, name, "leaderboard", "leaderboard", board.datasets, config)
    if run is None:
        return "W&B       not logged"
    try:
        run.log(_tables(board) | _media(files))
        run.log_artifact(_artifact(run, board, files))
        run.finish()
    except Exception as error:  # the tables and files are written; W&B only shows them
        warnings.warn(f"W&B failed ({type(error).__name__}: {error}); the files are complete, {SYNC}", stacklevel=2)
    where = run.url or f"{folder}/wandb; push it with `anomaly-bench wandb sync {folder}`"
    return f"W&B       {name}: {where}"


def _tables(board: Board) -> dict[str, Any]:
    import wandb

    from leaderboard.show.sheets.views import sheets

    rows = []
    for row in board.rows:
        means = (row.test[metric].mean for metric in board.metrics)
        rows.append([row.dataset, row.model, row.beta, row.predictor, row.n, *means])
    header = ["dataset", "model", "beta", "predictor", "seeds", *board.metrics]
    runs = [[run.run_id, run.dataset, run.model, run.beta, run.seed] for run in board.runs]
    tables = {
        "leaderboard": wandb.Table(columns=[*header], data=rows),
        "runs": wandb.Table(columns=["run", "dataset", "model", "beta", "seed"], data=runs),
    }
    for sheet in sheets(board, VIEWS):
        if sheet.rows:
            data = [[str(cell) for cell in cells] for cells in sheet.rows]
            tables[f"views/{sheet.title}"] = wandb.Table(columns=[*sheet.header], data=data)
    return tables


def _media(files: Sequence[Path]) -> dict[str, Any]:
    """Figures as pictures, reports as pages."""
    import wandb

    pictures = {f"figures/{path.stem}": wandb.Image(str(path)) for path in files if path.suffix == ".png"}
    pages = {f"report/{path.stem}": wandb.Html(path.read_text("utf-8")) for path in files if path.suffix == ".html"}
    return pictures | pages


def _artifact(run: wandb.Run, board: Board, files: Sequence[Path]) -> wandb.Artifact:
    """The files, with the ids of the runs that they are made of, and references to these where W&B has them."""
    import wandb

    ids = [one.run_id for one in board.runs]
    artifact = wandb.Artifact("leaderboard", "leaderboard", metadata={"runs": ids, "datasets": board.datasets})
    for path in files:
        artifact.add_file(str(path), name=path.name)
    if run.url is not None:
        for one in ids:
            artifact.add_reference(f"{run.url.rpartition('/')[0]}/{one}", name=f"runs/{one}", checksum=False)
    return artifact
