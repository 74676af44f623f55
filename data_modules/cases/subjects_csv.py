"""The CSV of subjects: what is known of each of them, and optionally which split it belongs to."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_modules.base.errors import DataError, Report, did_you_mean, stop
from data_modules.base.names import composed
from data_modules.base.regular import regular

from .case import SPLITS, Case

EXCLUDE = "exclude"
DELIMITERS = ",;\t"
KEY = "dataset.subjects_file"
SNIFFED = 2**16  # letters of the header that tell its delimiter; a cell of 2**17 ends the reader


def attach_attributes(cases: Sequence[Case], path: str | None, report: Report = stop) -> list[Case]:
    """The cases with what the CSV says of them; as they are if there is no path.

    The CSV is UTF-8 (with or without byte order mark), delimited by comma, semicolon or tab, and has a header. The column
    `subject` holds the names that the data has (a picture's is its path relative to the root). Other columns become
    Case.attributes; a value replaces what the case had, an empty cell says nothing. The optional column `split` says
    train, val, test or exclude: it becomes Case.split, which split_cases follows, and an excluded subject is left out.
    The column names the split of every subject, or, empty elsewhere, only those to exclude; the others are then divided
    as `dataset.split` says.

    report: told of a DataError for every problem; if it returns, the row is passed over. Problems: a file that cannot be
    read, no column `subject`, a column or a subject twice, a row longer than the header, a subject that the data does not
    have, a split that is none, and, where the column gives the splits, a subject without one.
    """
    if path is None:
        return list(cases)
    rows = _rows(path, {case.subject for case in cases}, report)
    gives_split = any(row.get("split") in SPLITS for row in rows.values())
    out: list[Case] = []
    for case in cases:
        row = dict(rows.get(case.subject, {}))
        split = row.pop("split", None)
        if split == EXCLUDE:
            continue
        if gives_split and split is None:
            report(
                DataError(
                    f"{path}: the column 'split' gives no split to {case.subject}; write train, val, test or {EXCLUDE}"
                )
            )
        out.append(replace(case, attributes={**case.attributes, **row}, split=split))
    if not out:
        raise DataError(f"{path}: every subject is excluded; leave some in")
    return out


def _rows(path: str, subjects: set[str], report: Report) -> dict[str, dict[str, str]]:
    """Non-empty cells of each subject that the data has, by subject and column."""
    header, lines = _read(path, report)
    rows: dict[str, dict[str, str]] = {}
    first_line: dict[str, int] = {}
    for number, cells in lines:
        row = {column: cell for column, cell in zip(header, cells, strict=False) if column and cell}
        subject = row.pop("subject", "")
        if problem := _problem(subject, row, len(cells), len(header), first_line, subjects):
            report(DataError(f"{path}, line {number}: {problem}"))
        else:
            rows[subject] = row
        first_line.setdefault(subject, number)
    return rows


def _problem(
    subject: str, row: dict[str, str], cells: int, columns: int, first_line: dict[str, int], subjects: set[str]
) -> str | None:
    if cells > columns:
        return f"{cells} cells, the header has {columns}; quote a cell that holds the delimiter"
    if not subject:
        return "the column 'subject' is empty; name the subject or remove the line"
    if subject in first_line:
        return f"{subject} is there already in line {first_line[subject]}; keep one of them"
    if subject not in subjects:
        hint = did_you_mean(subject, sorted(subjects), f"there are {', '.join(sorted(subjects)[:3])} …")
        return f"{subject} is not in the data; {hint}; correct or remove the line"
    if (split := row.get("split")) and split not in (*SPLITS, EXCLUDE):
        return f"split is '{split}'; expected train, val, test or {EXCLUDE}"
    return None


def _read(path: str, report: Report) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each line that is not empty with its number; every cell without blanks around it."""
    try:
        text = composed(regular(Path(path).expanduser()).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); set {KEY} to a CSV file, or to null") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); save the table as 'CSV UTF-8'") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda sign: len(next(csv.reader([first[:SNIFFED]], delimiter=sign), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: is no CSV ({error}); check its quotation marks") from error
    lines = [(number, _without_tail(cells)) for number, cells in lines if any(cells)]
    header = [name.lower() if name.lower() in ("subject", "split") else name for name in (lines[0][1] if lines else [])]
    if "subject" not in header:
        raise DataError(
            f"{path}: has no column 'subject'; its header is {', '.join(header) or 'empty'}; name the column of subjects so"
        )
    for name in sorted({name for name in header if name and header.count(name) > 1}):
        report(DataError(f"{path}: has two columns '{name}'; rename or remove one"))
    return header, lines[1:]


def _without_tail(cells: list[str]) -> list[str]:
    """Without the empty cells at the end, of which spreadsheets write more or fewer than the header has."""
    filled = max((index for index, cell in enumerate(cells) if cell), default=-1)
    return cells[: filled + 1]
