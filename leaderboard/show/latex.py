r"""The board as LaTeX tables, which a document takes in with \input."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from leaderboard.board import Board
from leaderboard.rows.notes import notes_of
from leaderboard.show.sheets.over_datasets import leading_sheets
from leaderboard.show.sheets.sheet import BEST, PLAIN, TIED, Sheet
from leaderboard.show.sheets.views import VIEWS, sheets

from .tables import by_dataset, leaderboard_sheet, legend, setting_sheets
from .texts import plain

PREAMBLE = r"""% Needs in the preamble:
% \usepackage[T1]{fontenc}
% \usepackage{array,booktabs,graphicx}
% Letters of other scripts than Latin are shown by XeLaTeX and LuaLaTeX, with a font that has them; pdfLaTeX shows a ? instead.
\providecommand{\otherscript}[1]{\ifdefined\Umathchar#1\else?\fi}
"""
LATIN = "\u017f"  # the last letter that pdfLaTeX knows by itself
BREAK = "\u200b"
ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}", "[": "{[}", "*": "{*}", "–": "--", "…": r"\dots{}",
    BREAK: r"\allowbreak{}", "\ufffd": "{?}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"} | {
    "±": r"$\pm$", "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "≈": r"$\approx$", "×": r"$\times$", "·": r"$\cdot$",
    "→": r"$\rightarrow$", "√": r"$\surd$", "∂": r"$\partial$", "β": r"$\beta$", "λ": r"$\lambda$", "μ": r"$\mu$",
    "σ": r"$\sigma$",
}  # fmt: skip
MARKS = {BEST: r"\textbf{{{}}}", TIED: r"\underline{{{}}}", PLAIN: "{}"}
CAPTION = "Mean ± sd over seeds; bold is a column's best, underlined what is equivalent to it."
LINES = 36  # of a table that fits an A4 page
TABLES = 12  # after which a page is filled: LaTeX holds back few
NOTES = r"\par\smallskip\parbox{{\linewidth}}{{\footnotesize\raggedright {}}}"
WIDE = 30  # letters from which on a text is broken over lines


def latex(board: Board) -> str:
    """Booktabs: predictors over datasets, a table per dataset (best bold, equivalent to it underlined), their legend, views.

    Long tables are in parts. The first lines say, as a comment, what the preamble needs.
    """
    leading = leading_sheets(board)
    tables = [table for sheet in leading for table in _tables(sheet, "", sheet.caption)]
    for dataset, members in by_dataset(board.main).items():
        tables += _tables(leaderboard_sheet(dataset, members), CAPTION, " ".join(notes_of(members)))
    said = " ".join(legend(board.main, "underlined")) if board.main else ""
    tables += [f"{{\\footnotesize\\raggedright\\noindent {tex(said)}\\par}}\n"] if said else []
    views = [sheet for sheet in sheets(board, VIEWS) if sheet not in leading]
    for sheet in (*setting_sheets(board), *views):
        tables += _tables(sheet, "", sheet.caption)
    pages = ["\n".join(tables[at : at + TABLES]) for at in range(0, len(tables), TABLES)]
    return PREAMBLE + "\\clearpage\n".join(pages)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """The kinds of the columns of these texts."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(r">{\raggedright\arraybackslash}p{48mm}" if size > WIDE else "l" for size in sizes)


def _parts(rows: Sequence[Sequence[str]]) -> list[range]:
    """The rows divided among tables of at most LINES lines, at least one row each."""
    found, start, height = [], 0, 0
    for at, row in enumerate(rows):
        own = max(1 + len(text) // WIDE for text in row)
        if at > start and height + own > LINES:
            found.append(range(start, at))
            start, height = at, 0
        height += own
    return [*found, range(start, len(rows))]


def _lines(sheet: Sheet, part: range) -> Iterator[str]:
    """A line per row, a rule where a section begins."""
    for begins, row, marks in sheet.lines(part):
        if begins:
            yield r"\midrule"
        yield " & ".join(MARKS[mark].format(tex(text)) for text, mark in zip(row, marks, strict=True)) + r" \\"


def _tables(sheet: Sheet, caption: str, notes: str) -> list[str]:
    """A table for each part of the rows, no wider than the text; the caption is the first one's, the notes stand below it."""
    found = []
    parts = _parts(sheet.rows)
    columns = _columns([sheet.header, *sheet.rows])
    for at, part in enumerate(parts):
        which = f" ({at + 1} of {len(parts)})" if len(parts) > 1 else ""
        said = f"{sheet.title}{which}. {'' if at else caption}".rstrip()
        begin = [
            r"\begin{table}[tbp]\centering",
            f"\\caption{{{tex(said)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(tex, sheet.header)) + r" \\",
            r"\midrule",
        ]
        below = NOTES.format(tex(notes)) if notes and not at else ""
        end = [r"\bottomrule", r"\end{tabular}}", *filter(None, [below]), r"\end{table}", ""]
        found.append("\n".join([*begin, *_lines(sheet, part), *end]))
    return found


def tex(text: str) -> str:
    """`text` set literally by LaTeX: no command, no ligature, no argument of the line before; long words may be broken."""
    text = re.sub("-(?=-)", f"-{BREAK}", plain(text))
    text = re.sub(rf"[^\s{BREAK}]{{12}}(?=[^\s{BREAK}]{{12}})", rf"\g<0>{BREAK}", text)
    return "".join(ESCAPES.get(letter, letter if letter <= LATIN else f"\\otherscript{{{letter}}}") for letter in text)
