"""What is wrong with the runs, and what there is: the top of the page."""

from __future__ import annotations

from leaderboard.amounts import amount
from leaderboard.board import Board
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.aggregate import NO_RESULT
from leaderboard.rows.row import Row
from leaderboard.show.tables import best_values, by_dataset, is_best, is_tied
from leaderboard.show.texts import cell

MOST = 100
BETAS = 4  # that are named at a glance one by one
HEADLINES = {"auroc": "pixel AUROC", "ap": "AP"}


def problems(board: Board) -> dict[str, list[str]]:
    """Messages under a heading each: damaged results, failed runs, settings without all their seeds; at most MOST each."""
    found = {
        "Results left out": board.damaged,
        "Failed runs": [f"{run}: {why}" for run, why in board.failed.items()],
        "Missing runs": _missing(board.rows),
    }
    return {heading: _capped(messages) for heading, messages in found.items() if messages}


def _capped(messages: list[str]) -> list[str]:
    more = len(messages) - MOST
    return [*messages[:MOST], f"… and {more} more"] if more > 0 else messages


def _missing(rows: list[Row]) -> list[str]:
    """A message per setting of which a planned seed has no result."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        if not row.ensemble:
            name = f"{row.dataset}, {row.label}, beta {beta_text(row.beta)}"
            found[name] = max(found.get(name, (0, 0))[0], row.n), row.planned
    return [
        f"{name}: {n} of {amount(planned, 'seeds')} with a result"
        for name, (n, planned) in found.items()
        if n < planned
    ]


def glance(board: Board) -> list[dict[str, str | int]]:
    """For each dataset how much there is in all settings, and its best predictor in each of HEADLINES."""
    lines = []
    for dataset, rows in by_dataset(board.main).items():
        known = [row for row in rows if row.predictor != NO_RESULT]
        single = [row for row in board.rows if row.dataset == dataset and not row.ensemble]
        groups = {row.setting_id: row for row in sorted(single, key=lambda row: row.n)}
        line: dict[str, str | int] = {
            "dataset": dataset,
            "domain": next((row.domain for row in known if row.domain), ""),
            "settings": len(groups),
            "betas": _betas({row.beta for row in groups.values()}),
            "predictors": len({row.predictor for row in known if not row.ensemble}),
            "runs": f"{sum(row.n for row in groups.values())}/{sum(row.planned for row in groups.values())}",
        }
        best = best_values(rows)
        for metric in HEADLINES:
            line[metric] = _winner(known, metric, best)
        lines.append(line)
    return lines


def _betas(betas: set[float]) -> str:
    named = [beta_text(beta) for beta in sorted(betas)]
    return ", ".join(named) if len(named) <= BETAS else f"{named[0]} to {named[-1]}"


def _winner(rows: list[Row], metric: str, best: dict[str, float | None]) -> str:
    winner = next((row for row in rows if is_best(row, metric, best)), None)
    if winner is None:
        return "–"
    tied = sum(is_tied(row, metric) for row in rows)
    others = f"; {tied} equivalent" if tied else ""
    at = "" if winner.any_setting else f" at beta {beta_text(winner.beta)}"
    return f"{winner.predictor}{at}: {cell(winner.test[metric], winner.n)}{others}"
