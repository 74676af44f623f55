"""The one story: runs → inputs → slices → maps → back to each input → files."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from anomaly_bench.base.errors import ConfigError, is_users
from anomaly_bench.base.files import check_writable
from anomaly_bench.runs.identity import device_kind
from data_modules.base.config import NiftiConfig, PictureConfig
from data_modules.base.digests import Progress
from data_modules.base.errors import DataError

from .applied import Applied, Look
from .inputs import Item, find_items
from .measured import measures_of
from .opened import Opened, Opener, batch_of, in_volumes
from .outputs import REMEDY, Outputs, as_csv, as_json, write_summary
from .overlay import draw_overlay

Record = dict[str, Any]
READERS, WRITERS = 2, 2  # threads that read ahead, and that draw and write what the model has looked at
NAMED = 3  # inputs in a note
FILLED = 0.9  # of a volume: no head fills so much of the box around it
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Outcome:
    """What became of the inputs: a record of each that was done (what its JSON file holds), and why others were not.

    notes: what the user should know of the runs, and of inputs that were done all the same.
    """

    notes: list[str]
    done: list[Record] = field(default_factory=list)
    problems: list[Exception] = field(default_factory=list)


def localize_files(
    runs: str | Path | Sequence[str | Path],
    inputs: str | Path | Sequence[str | Path],
    out: str | Path = "maps",
    *,
    predictors: str | Sequence[str] = (),
    mask: str | Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    all_slices: bool = False,
    overlay: bool = True,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
    done: Callable[[Record], None] = lambda record: None,
) -> Outcome:
    """Apply a finished run to volumes or pictures, and write what it finds in the geometry of each.

        outcome = localize_files("runs/brats-…", ["a.nii.gz", "b.nii.gz"], "maps", predictors=["rec_l1"])
        outcome.done[0]["predictors"]["rec_l1"]["regions"]

    Args:
        runs: the folder of a run; or several, of one setting, whose ensemble over seeds is applied.
        inputs: files, folders or globs, or MODALITY=FILE for each modality of a scan; see docs/localize.md.
        out: the folder for maps, segmentations, tables and pictures; docs/localize.md lists them.
        predictors: rows of the run; the one with the best AP on validation if there are none.
        mask: a file, a folder or a pattern, for metrics; see `find_items`.
        device: cpu, cuda, mps or auto.
        batch_size: images at once, that of the run if not given.
        all_slices: of volumes, whether to look at slices with less brain than those that the model was trained on, too.
        overlay: whether to draw an overlay of each input.
        overwrite: whether to replace files that are there; else an input that has some is a problem.
        progress: told of inputs that are through, and of all.
        done: told of each record as soon as its files are written.

    Inputs that cannot be used do not keep the others from being done: see Outcome.problems.

    Raises:
        ResultError, ConfigError: the runs cannot be used, or no predictor has such a name.
        DataError: there is no input at all, or the mask fits none.
        OutputError: the folder cannot be written to.
    """
    folders, named = _listed(runs), [str(one) for one in _listed(inputs)]
    applied = Applied.load([Path(folder).expanduser() for folder in folders], predictors, _device(device))
    outcome = Outcome(applied.notes(chosen=not predictors))
    items = find_items(named, applied.config.dataset, None if mask is None else str(mask), outcome.problems.append)
    if not items and not outcome.problems:
        raise DataError("no input; name a volume or picture, a folder or a glob of them")
    if mask is not None and (bare := [str(item.first) for item in items if item.mask is None]):
        outcome.notes.append(f"{len(bare)} of {len(items)} inputs have no mask, and so no metrics: {_some(bare)}")
    folder, unused = Path(out).expanduser(), len(outcome.problems)
    check_writable(folder, REMEDY)
    outputs = Outputs(folder, applied.names, overlay, overwrite, isinstance(applied.config.dataset, PictureConfig))
    opener = Opener(applied.config, all_slices)
    size = batch_size or applied.config.trainer.batch_size
    progress(0, len(items))

    def advance() -> None:
        progress(len(outcome.done) + len(outcome.problems) - unused, len(items))

    def failed(error: Exception) -> None:
        if not is_users(error):
            raise error
        outcome.problems.append(error)
        advance()

    filled: list[str] = []

    def write(pair: tuple[Opened, dict[str, Look]]) -> Record:
        record = _written(applied, *pair, outputs)
        if pair[0].item.case.brain_mask is None and outputs.volumes and pair[0].back.looked.mean() > FILLED:
            filled.append(str(pair[0].item.first))
        outcome.done.append(record)  # by who writes it, so that an interruption leaves no file that nobody knows of
        return record

    try:
        localized = _localized(applied, _groups(items, opener, outputs, size, failed), size)
        with closing(ahead(write, localized, WRITERS)) as futures:
            for future in futures:
                try:
                    record = future.result()
                except Exception as error:
                    failed(error)
                    continue
                done(record)
                advance()
    finally:
        order = {item.name: position for position, item in enumerate(items)}
        outcome.done.sort(key=lambda record: order[record["name"]])
        write_summary(folder, outcome.done)
    if filled:
        outcome.notes.append(
            f"more than {FILLED:.0%} of the volume counts as brain: {_some(filled)}; scans have to be skull-stripped with 0 "
            "outside of the brain, as those of the run were"
        )
    return outcome


def _some(names: Sequence[str]) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _listed(given: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [given] if isinstance(given, str | Path) else list(given)


def _device(name: str) -> str:
    try:
        kind = device_kind("auto") if name == "auto" else name
        torch.empty(0, device=kind)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"--device {name}: cannot be used here ({reason}); expected cpu, cuda, mps or auto"
        ) from error
    return kind


def _groups(
    items: Sequence[Item], opener: Opener, outputs: Outputs, size: int, failed: Callable[[Exception], None]
) -> Iterator[list[Opened]]:
    """The inputs that can be used, read ahead: as many as make a batch, but one volume at a time."""
    group: list[Opened] = []

    def opened(item: Item) -> Opened:
        outputs.check_free(item)
        return opener(item)

    for future in ahead(opened, items, READERS):
        try:
            group.append(future.result())
        except Exception as error:
            failed(error)
            continue
        if sum(map(len, group)) >= size or outputs.volumes:
            yield group
            group = []
    if group:
        yield group


def ahead(work: Callable[[A], B], items: Iterable[A], count: int) -> Generator[Future[B], None, None]:
    """The work on each item in order, done by `count` other threads while the taker is at work with what is done.

    No more than `count` items are begun, or finished and not taken.
    """
    waiting, left = deque[Future[B]](), iter(items)
    with ThreadPoolExecutor(count) as pool:
        try:
            while True:
                waiting.extend(pool.submit(work, item) for item in itertools.islice(left, count - len(waiting)))
                if not waiting:
                    return
                yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)


def _localized(
    applied: Applied, groups: Iterable[Sequence[Opened]], size: int
) -> Iterator[tuple[Opened, dict[str, Look]]]:
    """Each input of each group with what every predictor makes of its slices, `size` slices at a time."""
    dataset = applied.config.dataset
    for group in groups:
        batch, places = batch_of(group), None
        if dataset.depth:
            step = dataset.slice_step if isinstance(dataset, NiftiConfig) else 1
            batch, places = in_volumes(batch, dataset.depth, step)
        parts = [
            applied.look({key: value[start : start + size] for key, value in batch.items()})  # type: ignore[arg-type, index]
            for start in range(0, len(batch["image"]), size)
        ]
        joined = {
            name: Look(*map(torch.cat, zip(*(part[name] for part in parts), strict=True))) for name in applied.names
        }
        if places is not None:
            joined = {name: Look(*(part[places] for part in look)) for name, look in joined.items()}
        start = 0
        for opened in group:
            own = slice(start, start + len(opened))
            yield opened, {name: Look(*(part[own] for part in look)) for name, look in joined.items()}
            start = own.stop


def _written(applied: Applied, opened: Opened, looks: Mapping[str, Look], outputs: Outputs) -> Record:
    """The record of an input, whose files are written."""
    item, files, found = opened.item, dict[str, bytes](), dict[str, Record]()
    mask = None if item.mask is None else opened.mask(item.mask)
    for name, look in looks.items():
        if not bool(look.score.isfinite().all()):
            raise DataError(f"{item.first}: the map of {name} holds NaN or infinite scores; try another predictor")
        back, threshold = opened.back, applied.threshold(name)
        raw = opened.whole(look.score)
        scores, calibrated, segmentation = (
            torch.from_numpy(raw[back.looked]),
            np.zeros_like(raw),
            np.zeros_like(back.looked),
        )
        calibrated[back.looked] = applied.calibrated(name, scores).numpy()
        segmentation[back.looked] = applied.segmented(name, scores).numpy()
        regions = opened.regions(segmentation, raw, calibrated)
        best = int(look.image_score.nan_to_num(-torch.inf).argmax())
        own = {
            **opened.encoded(raw, calibrated, segmentation),
            "regions.csv": as_csv(regions, opened.region_columns),
        }
        found[name] = {
            "threshold": threshold,
            "threshold_rule": applied.threshold_rule,
            "image_score": float(look.image_score[best]),
            "higher_than": float(look.place[best]),
            **opened.slice_scores(look, best),
            **opened.amount(segmentation),
            "regions": regions,
            "metrics": mask and measures_of(opened, raw, segmentation, *mask),
        }
        if outputs.overlay:
            own["overlay.png"] = draw_overlay(opened, name, found[name], raw, calibrated, segmentation, mask)
        found[name]["files"] = {end: str(outputs.path(item, name, end)) for end in own}
        files |= {outputs.path(item, name, end).name: content for end, content in own.items()}
    record = {
        "name": item.name,
        "input": {modality: str(item.case.root / file) for modality, file in item.case.images.items()},
        "brain_mask": item.case.brain_mask,
        "mask": None if item.mask is None else str(item.mask),
        "version": version("anomaly-bench"),
        "runs": applied.about(),
        "geometry": opened.geometry(),
        "predictors": found,
    }
    outputs.write(item, {**files, f"{item.name}.json": as_json(record)})
    return record
