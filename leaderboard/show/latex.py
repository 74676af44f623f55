r"""The board as LaTeX tables, which a document takes in with \input."""

from __future__ import annotations

import re
from collections.abc import Sequence

from leaderboard.board import Board
from leaderboard.results.setting_labels import beta_text
from leaderboard.rows.aggregate import notes_of
from leaderboard.rows.row import Row

from .sheets import VIEWS, sheets
from .tables import HEADER, best_values, by_dataset, is_best, is_tied, legend
from .texts import COLUMNS, cell, plain

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
LINES = 36  # of a table that fits an A4 page
TABLES = 12  # after which a page is filled: LaTeX holds back few
WIDE = 30  # letters from which on a text is broken over lines


def latex(board: Board) -> str:
    """A booktabs table per dataset (best bold, statistically not worse underlined), then the views; long ones in parts.

    The first lines say, as a comment, what the preamble needs.
    """
    tables: list[str] = []
    for dataset, members in by_dataset(board.rows).items():
        best = best_values(members)
        notes = " ".join((*notes_of(members), *legend(members, "underlined")))
        names = [(row.label, beta_text(row.beta), row.predictor, *(row.count for _ in HEADER[3:])) for row in members]
        lines = [_lines([members[at] for at in part], best) for part in _parts(names)]
        tables += _tables(dataset, HEADER, _columns(names), lines, notes)
    for sheet in sheets(board, VIEWS):
        rows = [" & ".join(map(tex, row)) + r" \\" for row in sheet.rows]
        lines = [[rows[at] for at in part] for part in _parts(sheet.rows)]
        tables += _tables(sheet.title, sheet.header, _columns([sheet.header, *sheet.rows]), lines, sheet.caption)
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


def _lines(members: Sequence[Row], best: dict[str, float | None]) -> list[str]:
    """A line per row; model and beta are named where a setting begins, below a rule."""
    lines = []
    setting: tuple[str, float] | None = None
    for row in members:
        begins = (row.label, row.beta) != setting
        if begins and setting is not None:
            lines.append(r"\midrule")
        setting = (row.label, row.beta)
        cells = [tex(row.label), beta_text(row.beta)] if begins else ["", ""]
        cells.append(tex(row.predictor))
        for metric in COLUMNS:
            text = tex(cell(row.test[metric], row.n))
            command = "textbf" if is_best(row, metric, best) else "underline" if is_tied(row, metric) else ""
            cells.append(f"\\{command}{{{text}}}" if command else text)
        lines.append(" & ".join([*cells, tex(row.count)]) + r" \\")
    return lines


def _tables(title: str, header: Sequence[str], columns: str, parts: Sequence[Sequence[str]], caption: str) -> list[str]:
    """A table for each part of the lines, no wider than the text; the caption is that of the first."""
    found = []
    for at, lines in enumerate(parts):
        which = f" ({at + 1} of {len(parts)})" if len(parts) > 1 else ""
        said = f"{title}{which}. {'' if at else caption}".rstrip()
        begin = [
            r"\begin{table}[tbp]\centering",
            f"\\caption{{{tex(said)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(tex, header)) + r" \\",
            r"\midrule",
        ]
        end = [r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""]
        found.append("\n".join([*begin, *lines, *end]))
    return found


def tex(text: str) -> str:
    """`text` set literally by LaTeX: no command, no ligature, no argument of the line before; long words may be broken."""
    text = re.sub("-(?=-)", f"-{BREAK}", plain(text))
    text = re.sub(rf"[^\s{BREAK}]{{12}}(?=[^\s{BREAK}]{{12}})", rf"\g<0>{BREAK}", text)
    return "".join(ESCAPES.get(letter, letter if letter <= LATIN else f"\\otherscript{{{letter}}}") for letter in text)
