"""The page: everything that it shows is put into one template, and nothing in it can reach the network."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leaderboard.amounts import amount
from leaderboard.board import Board
from leaderboard.show.sentences import domains_of, meant, sentence
from leaderboard.show.tables import legend
from leaderboard.show.texts import effect_text, scopes

from .compare import comparisons
from .details import Details
from .gallery import galleries
from .plots import claim_pictures, left_out, plot_data, rank_pictures
from .problems import HEADLINES, glance, problems
from .provenance import provenance_tables
from .table import Table, front_tables, leaderboards, setting_tables, view_tables, with_all_metrics

HERE = Path(__file__).parent
SCRIPTS = ("tables.js", "details.js", "plots.js", "compare.js", "gallery.js", "page.js")
PLOTLY = "plotly-basic.min.js"
VIEWS = {
    "settings": "All settings",
    "chosen": "Chosen settings",
    "selection": "What choosing loses",
    "beta": "Over beta",
    "smoothing": "Smoothing",
    "versus": "Against the best",
    "domains": "Medical and natural",
    "ranks": "Ranks over datasets",
    "subjects": "Per subject",
    "attributes": "Per attribute",
    "lesions": "Per lesion size",
    "speed": "Time per image",
    "reported": "Reported, not run here",
    "categories": "Per category",
}
NOTES = 12  # of what is not compared
LARGE = 200_000  # letters of data from which on they are deflated: a browser inflates megabytes in milliseconds
PLOTS = {
    "operating": "ROC, per-region overlap and precision-recall",
    "beta": "Over beta",
    "time": "Time against quality",
    "domains": "Medical and natural",
    "training": "Training",
}
# What turns the direction of the text that follows, our own too: shown as what it is not, a letter.
LITERAL = str.maketrans(dict.fromkeys("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "\ufffd"))
ESCAPES = LITERAL | str.maketrans(
    {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
)


def html_report(board: Board) -> str:
    """The board as one HTML document with its scripts, styles, data and pictures inside: no other file, no network.

    Every name and message of the runs is data, never markup: the template escapes it, the scripts set it as text, and the
    page's content security policy runs the page's own scripts only. The same runs give the same bytes.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value.translate(LITERAL) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    library = (HERE / "assets" / PLOTLY).read_text(encoding="utf-8")
    script = "\n".join((HERE / "assets" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    style = (HERE / "assets" / "page.css").read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2")
    return page.render(
        policy=_policy(library, script), library=Markup(library), script=Markup(script), style=Markup(style), **_content(board)
    )  # fmt: skip


def _content(board: Board) -> dict[str, Any]:
    """What the template shows."""
    pictures, notes = galleries(board)
    provenance, settings_notes = provenance_tables(board)
    whole, details = with_all_metrics(board), Details()
    boards, front = leaderboards(board, details), front_tables(whole, details)
    found = {name: setting_tables(board, details) if name == "settings" else view_tables(board, name) for name in VIEWS}
    views = {name: tables for name, tables in found.items() if tables}
    plots, (compared, uncompared) = plot_data(whole), comparisons(board)
    tables: dict[str, list[Table]] = {
        "front": front,
        "leaderboard": boards,
        "provenance": provenance,
        **{f"view-{name}": some for name, some in views.items()},
    }
    blobs = {name: _json([vars(one) for one in some]) for name, some in tables.items()} | {
        "plots": _json(plots),
        "compare": _json(compared),
        "details": _json(details.blob()),
        "gallery": _json([gallery.data for gallery in pictures]),
    }
    days = sorted(run.created[:10] for run in board.runs)
    return {
        "blobs": {name: _packed(data) for name, data in blobs.items()},
        "front": front,
        "boards": boards,
        "views": {name: VIEWS[name] for name in views},
        "plots": {kind: PLOTS[kind] for kind in PLOTS if plots[kind]},
        "ranks": rank_pictures(board),
        "plots_note": left_out(board),
        "compared": bool(compared),
        "uncompared": uncompared[:NOTES],
        "problems": problems(board),
        "glance": glance(board),
        "headlines": HEADLINES,
        "findings": [(one, sentence(one, domains_of(board.runs)), scopes(one), meant(one)) for one in board.findings],
        "effect_text": effect_text,
        "claim_pictures": claim_pictures(board),
        "galleries": pictures,
        "gallery_notes": notes,
        "provenance": provenance,
        "provenance_notes": settings_notes,
        "notes": board.notes,
        "legend": legend(board.main, "underlined"),
        "amounts": _amounts(board, len(boards)),
        "days": (days[0], days[-1]) if days else (),
    }


def _amounts(board: Board, datasets: int) -> str:
    """How much there is in all."""
    ensembles = len(board.runs) - len(board.single_runs)
    predictors = {name for run in board.single_runs for name in run.predictors}
    return ", ".join(
        [
            amount(len(board.single_runs), "runs"),
            *([amount(ensembles, "ensembles over seeds")] if ensembles else []),
            amount(len(predictors), "predictors"),
            amount(datasets, "datasets"),
        ]
    )


def _json(value: Any) -> Markup:
    """JSON that may stand in a script element: nothing in it can end the element or start another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(ESCAPES))


def _packed(data: Markup) -> tuple[bool, Markup]:
    """Whether data are deflated (zlib, base64), as large ones are, and what then stands in the script element."""
    if len(data) < LARGE:
        return False, data
    return True, Markup(base64.b64encode(zlib.compress(data.encode(), 9)).decode())


def _policy(*scripts: str) -> str:
    """Only these scripts run, only embedded pictures are shown, and nothing is fetched."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )
