"""What findings and tables say, in sentences for a reader who has not seen them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from leaderboard.board import Board
from leaderboard.results.run_arrays import RunArrays
from leaderboard.rows.comparison import mark
from leaderboard.rows.row import Row
from leaderboard.show.texts import COLUMNS, UNDEFINED, escape, interval, number
from leaderboard.show.texts import signed as signed_number
from leaderboard.statistics.effects import Effect
from leaderboard.verdicts.claim import Finding

FIRST, SECOND = "ap", "auroc"  # the metric that leads, as anomalous pixels are rare, and the one beside it
BASELINES = ("intensity", "intensity_equalised", "local_contrast", "local_contrast_wide")
LEADERS = 3
NAMED = 12  # runs


@dataclass(frozen=True)
class Baseline:
    """Intensity beside the learned map with the best AP on the test images of a dataset, which favours the learned one.

    lead: intensity minus it, over the seeds that both have, with the interval of the board's comparison and the verdict on
    intensity that follows from it: better, equivalent (within `margin`), worse, undecided. subjects: as of `Versus`.
    """

    dataset: str
    intensity: Row
    learned: Row
    lead: Effect
    verdict: str
    margin: float
    subjects: int

    @property
    def lead_text(self) -> str:
        """The lead with its interval, and whether that holds for these test images alone."""
        alone = ", over seeds alone: these test images" if self.lead.low is not None and not self.subjects else ""
        return f"{signed(self.lead)}{alone}"


def single_runs(board: Board) -> list[RunArrays]:
    """`Board.single_runs` in the order of dataset, beta and seed."""
    return sorted(board.single_runs, key=lambda run: (run.dataset, run.beta, run.seed, run.run_id))


def incomplete(board: Board) -> Iterator[str]:
    """What is missing, failed or damaged, if anything is."""
    missing = sum(
        row.planned - row.n for row in {row.setting_id: row for row in board.rows if not row.ensemble}.values()
    )
    if missing or board.failed or board.damaged:
        without = [name for name in board.datasets if all(run.dataset != name for run in board.runs)]
        yield (
            f"**Not complete**: {missing} of the planned runs have no result, {len(board.failed)} failed, and "
            f"{len(board.damaged)} results are damaged{f'; there is none of {escape(listed(without))}' if without else ''}. "
            "What follows speaks of those that are there."
        )
        yield ""
        said = [f"{run}: {why}" for run, why in board.failed.items()]
        for text in [*said[:NAMED], *board.damaged[:NAMED]]:
            yield f"- {escape(text)}"
        yield ""


def with_results(board: Board) -> Board:
    """The board without the datasets and settings that have no result."""
    return replace(board, rows=[row for row in board.rows if row.samples is not None])


def listed(names: Iterable[str]) -> str:
    """The names, the first NAMED of them."""
    names = list(names)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def baselines(board: Board) -> list[Baseline]:
    """For each dataset with the row `intensity`, at the settings that validation chooses."""
    found = []
    for dataset in board.datasets:
        rows = [
            one.row for one in board.chosen if (one.dataset, one.metric) == (dataset, FIRST) and one.row is not None
        ]
        plain = [row for row in rows if row.predictor == "intensity"]
        learned = [row for row in rows if row.predictor not in BASELINES]
        if plain and learned:
            best = max(learned, key=lambda row: row.test[FIRST].mean or 0.0)
            main = [row for row in board.main if row.dataset == dataset]
            found.append(_baseline(plain[0], best, main) or _baseline(plain[0], best, mark([plain[0], best])))
    return [one for one in found if one is not None]


def _baseline(intensity: Row, learned: Row, compared: list[Row]) -> Baseline | None:
    """The two by their comparison among `compared` rows; None where neither is the row that others are compared with."""
    for row, other, sign in ((learned, intensity, -1), (intensity, learned, 1)):
        for one in (same.versus.get(FIRST) for same in compared if same.name == row.name):
            if one is not None and one.verdict != "best" and one.best == other.name:
                value, low, high, seeds, subjects = one.versus
                value, low, high = (None if of is None else sign * of for of in (value, low, high))
                lead = Effect(value, *((low, high) if sign > 0 else (high, low)), seeds)
                verdict = "better" if sign < 0 and one.verdict == "worse" else one.verdict
                return Baseline(row.dataset, intensity, learned, lead, verdict, one.margin, subjects)
    return None


def about_baselines(found: Iterable[Baseline]) -> Iterator[str]:
    """In Markdown a sentence for each dataset where no learned map is above intensity; bold where the comparison is decided."""
    for one in found:
        if one.lead.value is not None and one.lead.value > 0:
            better = one.verdict == "better"
            verdict = f"equivalent within {one.margin:g}" if one.verdict == "equivalent" else one.verdict
            said = escape(
                f"On {one.dataset} plain intensity, which needs no model, {'beats' if better else 'is higher than'} the best "
                f"learned map, {one.learned.predictor}{'' if better else f', {verdict}'}: {COLUMNS[FIRST]} "
                f"{number(one.intensity.test[FIRST].mean)} against {number(one.learned.test[FIRST].mean)} "
                f"(difference {one.lead_text})."
            )
            yield f"**{said}**" if better else said


def about_ranks(board: Board) -> list[str]:
    """Who leads by average rank of AP over all datasets, and over those of a domain."""
    said = []
    for ranking in board.rankings:
        if ranking.metric == FIRST and len(ranking.datasets) > 1:
            first = ", ".join(f"{name} ({rank:.1f})" for name, rank in list(ranking.ranks.items())[:LEADERS])
            tested = ""
            if ranking.difference is not None:
                tested = f", where ranks less than {ranking.difference:.1f} apart cannot be told apart (Nemenyi)"
            where = (
                f"the {len(ranking.datasets)} {ranking.domain} ones"
                if ranking.domain
                else f"all {len(ranking.datasets)} datasets"
            )
            said.append(f"on {where} {first}{tested}")
    return [f"Best average ranks by {COLUMNS[FIRST]}: {'; '.join(said)}."] if said else []


def verdict_text(first: Finding, second: Finding) -> str:
    """The verdicts by both metrics."""
    if first.verdict == second.verdict:
        return f"{first.verdict.capitalize()}."
    return f"{first.verdict.capitalize()} by {COLUMNS[first.metric]}, {second.verdict} by {COLUMNS[second.metric]}."


def signed(effect: Effect, difference: bool = True) -> str:
    """An effect, with its sign where it is a difference, and, where it has one, its interval."""
    if effect.value is None:
        return UNDEFINED
    bounds = "" if effect.low is None else f", 95 % interval {interval(effect.low, effect.high)}"
    return f"{signed_number(effect.value) if difference else number(effect.value)}{bounds}"
