"""The sheet: a table of texts with its marks, which every output sets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from leaderboard.show.texts import escape, markdown_table

NAMED = ("model", "beta", "predictor")
WAYS = {
    "validation": "labelled validation",
    "synthetic_ap": "AP of pasted anomalies",
    "synthetic_auroc": "AUROC of pasted anomalies",
    "elbo": "ELBO",
    "iwae": "IWAE bound",
    "false_positives": "mass of false positives",
    "consistency": "consistency over copies",
    "stability": "stability over seeds",
    "any": "at random",
}
BEST, TIED, PLAIN = "bt "
SIGNS = {BEST: "**", TIED: "_", PLAIN: ""}
MARKS = {BEST: "bold", TIED: "underline", PLAIN: ""}  # on a terminal


@dataclass(frozen=True)
class Sheet:
    """A titled table of texts, every row as long as the header.

    marks: for each row a letter per column (BEST, TIED: equivalent to the best, PLAIN), or none where no cell is marked.
    sections: rows that are equal in so many first columns are one section.
    """

    view: str
    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""
    marks: Sequence[str] = ()
    sections: int = 0

    def lines(self, part: range) -> Iterator[tuple[bool, tuple[str, ...], str]]:
        """The rows of a part: whether a further section begins, the texts (a section's are shown once), and the marks."""
        section = None
        for index in part:
            row, before = self.rows[index], section
            section = row[: self.sections]
            texts = ("",) * self.sections + row[self.sections :] if section == before else row
            yield before not in (None, section), texts, self.marks[index] if self.marks else PLAIN * len(row)


def sheet_markdown(sheet: Sheet) -> str:
    """A heading, a table and a caption; the best mean of a column is bold, what is equivalent italic."""
    table = markdown_table(sheet.header, sheet.rows, [[SIGNS[mark] for mark in marks] for marks in sheet.marks])
    caption = [escape(sheet.caption), ""] if sheet.caption else []
    return "\n".join([f"### {escape(sheet.title)}", "", *table, "", *caption])


def by_title(
    view: str, header: tuple[str, ...], lines: Iterable[tuple[str, tuple[str, ...]]], caption: str = ""
) -> list[Sheet]:
    """A sheet for each title among the (title, row) `lines`."""
    tables: dict[str, list[tuple[str, ...]]] = {}
    for title, row in lines:
        tables.setdefault(title, []).append(row)
    return [Sheet(view, title, header, rows, caption) for title, rows in tables.items()]


def criterion(ways: Collection[str], metric: str) -> str:
    """What settings were chosen by, in words: `ways` among WAYS, of which validation knows the metric."""
    return " or ".join(f"{metric} on validation" if way == "validation" else WAYS[way] for way in WAYS if way in ways)
