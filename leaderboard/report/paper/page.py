"""The page on the paper's statements, from the question to what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from leaderboard.amounts import amount
from leaderboard.board import Board
from leaderboard.record import best_is_last
from leaderboard.results.run_arrays import RunArrays
from leaderboard.results.setting_labels import beta_text
from leaderboard.show.sentences import METRIC_FREE, domains_of, sentence
from leaderboard.show.texts import COLUMNS, UNDEFINED, escape, markdown_table, number
from leaderboard.verdicts.claim import Finding
from leaderboard.verdicts.claims import evaluate

from .answers import (
    FIRST,
    SECOND,
    Baseline,
    about_baselines,
    about_ranks,
    baselines,
    incomplete,
    listed,
    signed,
    single_runs,
    verdict_text,
    with_results,
)
from .evidence import beside_intensity, order, statement, tables
from .pictures import write_pictures
from .sources import PHASES, provenance, repeated


def write_page(board: Board, path: Path) -> list[Path]:
    """Write the page and, in a folder beside it that is named like it, its pictures; their paths. OSError if it cannot."""
    pictures = write_pictures(board, path.with_suffix(""))
    path.write_text(page(board, {file.stem: f"{path.stem}/{file.name}" for file in pictures}), encoding="utf-8")
    return pictures


def page(board: Board, pictures: dict[str, str]) -> str:
    """The text, always the same for the same results; pictures: their addresses by the name of what they show."""
    state, board = list(incomplete(board)), with_results(board)
    pairs = list(zip(evaluate(board.rows, FIRST), evaluate(board.rows, SECOND), strict=True))
    runs = single_runs(board)
    plain = baselines(board)
    parts = (
        _question(board, runs),
        state,
        _answer(board, pairs, plain),
        ["## The evidence, statement by statement", ""],
        *(statement(*pair, runs, pictures.get(f"effect_{pair[0].name}", "")) for pair in pairs),
        beside_intensity(plain),
        tables(board),
        _over_beta(board, pictures),
        _cases(board, pictures),
        _cost(board, runs),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _question(board: Board, runs: Sequence[RunArrays]) -> Iterator[str]:
    domains = domains_of(runs)
    named = "; ".join(
        f"{domain}: {', '.join(names)}"
        for domain in ("natural", "medical")
        if (names := [name for name in board.datasets if domains.get(name) == domain])
    )
    betas = ", ".join(beta_text(beta) for beta in sorted({run.beta for run in runs}))
    seeds = sorted({run.seed for run in runs})
    seeded = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    yield "# What holds of *Unsupervised anomaly localization using VAE and beta-VAE*?"
    yield ""
    yield (
        "Zhou, Deng and Wu ([2020](https://arxiv.org/abs/2005.10686)) ask which quantity inside a VAE localizes anomalies "
        "best, whether that holds from natural to medical images, and what beta does. We know the abstract, which answers "
        "without numbers, and there is no public code. Here each statement is held against runs of our own."
    )
    yield ""
    yield (
        f"**What was done.** VAEs were trained on normal images of {amount(len(board.datasets), 'datasets')} "
        f"({escape(named)}), with beta {betas} and {seeded}: {amount(len(runs), 'runs')}. Each trained model gives the "
        "maps of every predictor. How wide a map is smoothed, at which beta a predictor is shown, and with which member an "
        "ensemble is compared is chosen on validation images, never on test. Average precision (AP) over the pixels of all "
        "test images leads, as anomalous pixels are rare; pixel AUROC stands beside it."
    )
    yield ""


def _answer(board: Board, pairs: Sequence[tuple[Finding, Finding]], plain: Sequence[Baseline]) -> Iterator[str]:
    domains = domains_of(board.runs)
    yield "## The answer in brief"
    yield ""
    yield from (f"- {text}" for text in about_baselines(plain))
    yield from (f"- {escape(text)}" for text in about_ranks(board))
    for pair in pairs:
        yield f"- {escape(pair[0].statement)} **{verdict_text(*pair)}** {escape(sentence(pair[0], domains))}"
    yield ""
    yield "**What was not confirmed**"
    yield ""
    open_ones = [pair for pair in pairs if {one.verdict for one in pair} != {"supported"}]
    for first, second in open_ones:
        need = (
            f" What would decide it: {escape(first.decide or second.decide)}." if first.decide or second.decide else ""
        )
        yield f"- {escape(first.statement)} {verdict_text(first, second)} {escape(_sizes(first, second))}{need}"
    if not open_ones:
        yield "- Nothing: every statement is supported by both metrics."
    yield ""
    yield (
        "*Supported*: the whole 95 % interval of the effect lies above what matters; *contradicted*: all of it lies "
        "below; *undecided*: neither, or there are too few datasets, seeds or settings. Undecided is not refuted. These "
        "verdicts are of these datasets, for other seeds and test images of them; beside the evidence stands what follows for "
        "*other datasets like these*."
    )
    yield ""


def _sizes(first: Finding, second: Finding) -> str:
    """The effect by both metrics, and what it had to exceed."""
    alone = first.name in METRIC_FREE
    texts = [
        signed(one.effect, one.difference) + ("" if alone else f" ({COLUMNS[one.metric]})") for one in (first, second)
    ]
    said = texts[0] if alone else " and ".join(texts)
    return f"Effect {said}, over {first.over}; it had to be above {first.threshold:g}."


def _over_beta(board: Board, pictures: dict[str, str]) -> Iterator[str]:
    curves = [(dataset, address) for dataset in board.datasets if (address := pictures.get(f"beta_{dataset}"))]
    if curves:
        yield "## Over beta"
        yield ""
        yield "AP on test; bars are 95 % intervals over seeds."
        yield ""
        yield from (f"![AP over beta on {escape(dataset)}]({address})" for dataset, address in curves)
        yield ""


def _cases(board: Board, pictures: dict[str, str]) -> Iterator[str]:
    cases = {dataset: address for dataset in board.datasets if (address := pictures.get(f"cases_{dataset}"))}
    hidden = [dataset for dataset in board.datasets if dataset not in cases]
    yield "## Best and worst cases"
    yield ""
    for dataset, address in cases.items():
        yield f"**{escape(dataset)}**: test images with mask, reconstruction and maps, at the lowest beta and seed."
        yield ""
        yield f"![Cases of {escape(dataset)}]({address})"
        yield ""
    if hidden:
        yield (
            f"None are shown of {escape(', '.join(hidden))}: only the embedded sets and open_ms (CC BY 4.0; Lesjak et al. "
            "2017) come under a licence that lets everybody show them everywhere. Every run's folder has its own, "
            "`pictures/overview.png`."
        )
        yield ""


def _cost(board: Board, runs: Sequence[RunArrays]) -> Iterator[str]:
    last = [run for run in runs if best_is_last(run.training)]
    epochs = sorted(int(run.training.get("epochs") or 0) for run in runs) or [0]
    yield "## Was training long enough, and what it cost"
    yield ""
    yield f"Training took {epochs[0]} to {epochs[-1]} epochs. In {len(last)} of {len(runs)} runs the best epoch is the last."
    if last:
        names = (f"{run.dataset} beta {beta_text(run.beta)} seed {run.seed}" for run in last)
        yield f"They may be undertrained: {escape(listed(names))}."
    yield ""
    sources = {run.run_id: source for run in runs if (source := provenance(run))}
    lines, total = [], 0.0
    for dataset in board.datasets:
        members = [run for run in runs if run.dataset == dataset]
        spent = [sources[run.run_id].durations for run in members if run.run_id in sources]
        hours = [sum(one.get(phase, 0.0) for one in spent) / 3600 for phase in PHASES]
        total += sum(hours)
        devices = ", ".join(sorted({run.device for run in members}))
        lines.append((dataset, str(len(members)), devices, *(number(value, 2) for value in hours)))
    yield from markdown_table(("dataset", "runs", "device", "hours of training", "hours of localization"), lines)
    yield ""
    yield f"In all {total:.1f} hours of one run after the other."
    yield ""
    yield "Milliseconds per image of each predictor, at the setting chosen by AP:"
    yield ""
    seconds = {
        (one.predictor, one.dataset): one.row.seconds.mean for one in board.chosen if one.metric == FIRST and one.row
    }
    timed = [
        (
            name,
            *(
                UNDEFINED if (value := seconds.get((name, dataset))) is None else number(1000 * value, 2)
                for dataset in board.datasets
            ),
        )
        for name in order(board, FIRST)
    ]
    yield from markdown_table(("predictor", *board.datasets), timed)
    yield ""
    yield from repeated(sources.values(), "anomaly-bench paper data_dir=FOLDER")
