"""Everything that a leaderboard shows, computed once; every output renders this and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leaderboard.record import MARGIN
from leaderboard.results.collect import Collection
from leaderboard.results.folds import join_folds
from leaderboard.results.long import Part, long_table
from leaderboard.results.published import Reported
from leaderboard.results.run_arrays import RunArrays, without_cycles
from leaderboard.rows.aggregate import aggregate
from leaderboard.rows.categories import CategoryRow, by_category
from leaderboard.rows.main_table import all_settings, main_rows, model_free
from leaderboard.rows.notes import notes_of
from leaderboard.rows.ranking import DomainRow, Ranking, by_domain, rank
from leaderboard.rows.row import Row
from leaderboard.rows.selection import VALIDATION, Regret, regrets
from leaderboard.rows.smoothing import Smoothing, smoothings
from leaderboard.rows.views import (
    AttributeRow,
    Chosen,
    Curve,
    LesionSummary,
    SubjectSummary,
    attribute_rows,
    chosen,
    curves,
    lesion_summaries,
    subject_summaries,
)
from leaderboard.verdicts.claim import Finding
from leaderboard.verdicts.claims import evaluate

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = ("auroc", "ap", "dice", "dice_oracle", "aupro", "image_auroc")
BY_CATEGORY = ("auroc", "aupro", "ap", "image_auroc")


@dataclass(frozen=True)
class Board:
    """The tables and series of a folder of runs.

    main: every predictor once per dataset, at the setting that validation chooses (`main_rows`); rows: every predictor of every
    setting; both with the comparison to the best of the dataset among them, and all of METRICS. The views hold
    the metrics SHOWN: curves over beta; chosen, the setting that validation chooses beside the oracle, with the front of
    time and quality; regrets, what each way of choosing loses; subjects (PAIRED metrics) with seed and subject variance;
    attributes and lesions; smoothing (the metrics SMOOTHED); categories by metric; domains (medical, natural); rankings over
    all datasets and per domain. reported: figures of papers for the datasets here. findings: the claims. damaged: results left
    out, with the reason; failed: why runs failed, by title and folder; runs: what was read, for provenance and pictures
    (`Run.folder`).
    """

    main: list[Row]
    rows: list[Row]
    curves: list[Curve]
    chosen: list[Chosen]
    regrets: list[Regret]
    subjects: list[SubjectSummary]
    attributes: list[AttributeRow]
    lesions: list[LesionSummary]
    smoothing: list[Smoothing]
    categories: dict[str, list[CategoryRow]]
    domains: list[DomainRow]
    rankings: list[Ranking]
    reported: list[Reported]
    findings: list[Finding]
    notes: list[str]
    damaged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    runs: list[RunArrays] = field(default_factory=list, repr=False)
    metrics: tuple[str, ...] = SHOWN

    def to_pandas(self, part: Part = "runs") -> DataFrame:
        """All values of all runs as a long table, or those of each test subject: see `long.long_table`."""
        return long_table(self.runs, part)

    @property
    def single_runs(self) -> list[RunArrays]:
        """The runs that are no ensembles over seeds."""
        return [run for run in self.runs if not run.ensemble_of]

    @property
    def datasets(self) -> list[str]:
        """Names, in the order of the rows."""
        return list(dict.fromkeys(row.dataset for row in self.rows))


@without_cycles()
def build(
    collection: Collection,
    reported: Sequence[Reported] = (),
    metric: str = "auroc",
    margin: float = MARGIN,
    by: str = VALIDATION,
) -> Board:
    """The board of a collection; `metric`: that the claims are held against; `margin`: up to which rows are equivalent.

    by: what chooses the setting of a predictor (`selection.BY`).
    """
    found, joined = aggregate(collection), join_folds(collection).collection.results
    rows = all_settings(found, margin)
    free = model_free(rows)
    labels = {(row.dataset, row.setting_id): row.label for row in found}
    choices = chosen(rows, SHOWN, by)
    domains = ["", *sorted({entry.domain for entry in choices if entry.domain})]
    here = {row.dataset for row in rows} | {run.family for run in collection.results}
    main = main_rows(rows, choices, margin)
    return Board(
        main=main,
        rows=rows,
        curves=curves(rows, SHOWN),
        chosen=choices,
        regrets=regrets(rows, ("ap", "auroc")),
        subjects=subject_summaries(rows),
        attributes=attribute_rows(rows, SHOWN),
        lesions=lesion_summaries(rows),
        smoothing=smoothings(rows),
        categories={name: by_category(joined, name, labels, free) for name in BY_CATEGORY},
        domains=by_domain(choices, SHOWN),
        rankings=[rank(choices, name, domain) for name in SHOWN for domain in domains] if choices else [],
        reported=[entry for entry in reported if entry.dataset in here],
        findings=evaluate(found, metric),
        notes=notes_of([*rows, *main]),
        damaged=list(collection.damaged),
        failed=dict(collection.failed),
        runs=collection.results,
    )
