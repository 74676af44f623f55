"""From a runs folder to results: what finished, what failed, what is damaged, and what was planned."""

import gc
import os
import signal
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import cpu_count, get_context
from pathlib import Path

import msgspec

from leaderboard.amounts import amount
from leaderboard.json_file import Document, Record, ResultError, read_document, write_document
from leaderboard.record import RESULT_FILE, Text

from .run_arrays import RunArrays, read_run, without_cycles

FAILURE_FILE = "failure.txt"
SWEEPS_FOLDER = "sweeps"
MANY = 1000  # results from which on a second process is worth its start
HELPERS = 4  # processes at most: each takes about 0.1 GB
SWEEP_REMEDY = "Without the plan n/N would be wrong: start the same `anomaly-bench bench` again, or move the file away."


class PlannedRun(Record, frozen=True):
    """One run that a sweep intends; `folder` is relative to the runs folder."""

    run_id: Text
    setting_id: Text
    dataset: str
    model: str
    beta: float
    seed: int
    folder: Text


class Sweep(Document, frozen=True):
    """The plan of a sweep: all its runs, whether finished or not, and by setting id in what settings alike differ."""

    runs: list[PlannedRun]
    differs: dict[str, str] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """What a runs folder holds: results by run id's order, one message per damaged file, the plan, and why runs failed.

    `failed` maps a run's title and folder (of a run in no plan the folder alone, relative to the runs folder) to
    the reason. `differs`: by setting id in what the plan says that settings alike differ.
    """

    results: list[RunArrays]
    damaged: list[str] = field(default_factory=list)
    planned: list[PlannedRun] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    differs: dict[str, str] = field(default_factory=dict)

    def of(self, run_ids: set[str]) -> "Collection":
        """The part that is about these runs; damaged results do not say whose they are, and stay."""
        planned = [run for run in self.planned if run.run_id in run_ids]
        titles = {_named(run, self.differs) for run in planned}
        return Collection(
            [run for run in self.results if run.run_id in run_ids],
            self.damaged,
            planned,
            {title: why for title, why in self.failed.items() if title in titles},
            self.differs,
        )


def title(dataset: str, model: str, beta: float, differs: str, seed: int) -> str:
    """What a run is called in all that is shown of a sweep; differs: in which keys its setting differs from the others."""
    return " ".join(filter(None, (dataset, model, f"beta={beta:g}", differs, f"seed={seed}")))


def title_of(run: PlannedRun, differs: Mapping[str, str]) -> str:
    """The `title` of a planned run; differs: as in `Collection`."""
    return title(run.dataset, run.model, run.beta, differs.get(run.setting_id, ""), run.seed)


def _named(run: PlannedRun, differs: Mapping[str, str]) -> str:
    """Title and folder."""
    return _shown(f"{title_of(run, differs)} ({run.folder})")


def write_sweep(sweep: Sweep, root: Path, name: str) -> Path:
    """Write the plan as `<root>/sweeps/<name>.json`, atomically, in place of an older plan of that name; its path."""
    if Path(name).name != name:
        raise ResultError(
            f"{root / SWEEPS_FOLDER}: a sweep's name is one file name, got {name!r}; leave out the slashes."
        )
    path = root / SWEEPS_FOLDER / f"{name}.json"
    write_document(sweep, path)
    newest = max(map(_written, path.parent.glob("*.json")))
    if newest > _written(path):  # the clock has been put back
        os.utime(path, ns=(newest + 1, newest + 1))
    return path


def _written(path: Path) -> int:
    """When the file was written, in nanoseconds."""
    return path.stat().st_mtime_ns


def read_sweeps(root: Path) -> tuple[dict[str, Sweep], list[str]]:
    """All whole plans under `<root>/sweeps`, by name, and a message per damaged one, without which n/N may be wrong."""
    sweeps: dict[str, Sweep] = {}
    damaged: list[str] = []
    for path in sorted((root / SWEEPS_FOLDER).glob("*.json")):
        try:
            sweeps[path.stem] = read_document(path, Sweep, SWEEP_REMEDY)
        except ResultError as error:
            damaged.append(_shown(str(error)))
    return sweeps, damaged


def newest_sweep(root: Path, remedy: str = "") -> set[str]:
    """The run ids of the sweep that was started last; ResultError when there is no folder or sweep, or it is damaged.

    remedy: for none, what starts one, if not `anomaly-bench bench`.
    """
    paths = sorted((root / SWEEPS_FOLDER).glob("*.json"), key=_written)
    if not paths:
        if not remedy:
            check_folder(root)
            remedy = f"`anomaly-bench bench out={root}` does."
        raise ResultError(f"{root}: no sweep was started here; {remedy}")
    return {run.run_id for run in read_document(paths[-1], Sweep, SWEEP_REMEDY).runs}


def check_folder(root: Path) -> None:
    """ResultError unless the runs folder is there."""
    if not root.is_dir():
        what = "a file and no folder" if root.exists() else "there is no such folder"
        raise ResultError(f"{root}: {what}. Name the one that runs were written to (`anomaly-bench bench out=FOLDER`).")


def collect(root: Path, only: set[str] | None = None) -> Collection:
    """Everything under `root`, at any depth; with `only`, the runs of these ids. Links to folders are not followed.

    A damaged result or plan does not hide the others: it becomes a message in `damaged`, and so does a folder that cannot
    be listed. A folder with both a result and a failure is a run that was repeated with success. ResultError when nothing is
    found, when one run id lies in two folders or contradicts its plan, and when an id of `only` is nowhere.
    """
    sweeps, unread = read_sweeps(root)
    plan = _merge_plans(sweeps, root)
    differs = {setting: text for sweep in sweeps.values() for setting, text in sweep.differs.items()}
    at = {os.path.normpath(root / run.folder): run for run in plan.values()}
    plan = {run_id: run for run_id, run in plan.items() if only is None or run_id in only}
    finished, broken, unlisted = _find(root)
    if only is not None:
        ids = {folder: run.run_id for folder, run in at.items()}
        finished = [folder for folder in finished if ids.get(os.path.normpath(folder)) in {None, *only}]
        broken = [folder for folder in broken if ids.get(os.path.normpath(folder)) in only]
    results, damaged = _read_results(finished)
    if only is not None:
        results = {run_id: result for run_id, result in results.items() if run_id in only}
    _check_against_plan(results, plan, root)
    failed = _read_failures(broken, root, {folder: _named(run, differs) for folder, run in at.items()})
    if not (results or damaged or unlisted or failed):
        if unread:
            raise ResultError(unread[0])
        check_folder(root)
        planned = f" (of {amount(len(plan), 'planned runs')} none is finished)" if plan else ""
        raise ResultError(
            f"{root}: no results found{planned}. Fill it (`anomaly-bench bench out={root}`) or name the one that has them."
        )
    lost = sorted((only or set()) - results.keys() - plan.keys())
    if lost:
        raise ResultError(
            f"{root}: runs {lost} are neither here nor in a plan. Run them (`anomaly-bench bench`) or leave them out."
        )
    damaged = unread + unlisted + damaged
    return Collection([results[run_id] for run_id in sorted(results)], damaged, list(plan.values()), failed, differs)


def _merge_plans(sweeps: dict[str, Sweep], root: Path) -> dict[str, PlannedRun]:
    """Planned runs by id, each once however many sweeps share it; ResultError when two sweeps contradict each other."""
    plan: dict[str, PlannedRun] = {}
    for name, sweep in sweeps.items():
        for run in sweep.runs:
            if plan.setdefault(run.run_id, run) != run:
                raise ResultError(
                    f"{root / SWEEPS_FOLDER / name}.json: run {run.run_id} is planned differently in another sweep. "
                    "Delete the outdated one of the two."
                )
    return plan


def _find(root: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Folders with a result, folders with a failure only, and a message per folder that cannot be listed."""
    finished: list[Path] = []
    broken: list[Path] = []
    unlisted: list[str] = []

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            unlisted.append(_shown(f"{error.filename}: cannot be listed ({error.strerror}); its results are missing."))

    for folder, folders, files in os.walk(root, onerror=note):
        folders.sort()
        if RESULT_FILE in files or RESULT_FILE in folders:
            finished.append(Path(folder))
        elif FAILURE_FILE in files:
            broken.append(Path(folder))
    return finished, broken, unlisted


def _shown(text: str) -> str:
    """`text` with what no output could encode, from the name of a folder, written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def _read_results(folders: list[Path]) -> tuple[dict[str, RunArrays], list[str]]:
    """Results by run id, and a message for each damaged one."""
    results: dict[str, RunArrays] = {}
    damaged: list[str] = []
    paths = [folder / RESULT_FILE for folder in folders]
    with without_cycles():
        for path, run in zip(paths, _read_all(paths), strict=True):
            if isinstance(run, str):
                damaged.append(run)
                continue
            if run.run_id in results:
                raise ResultError(
                    f"{path}: run {run.run_id} lies also in {results[run.run_id].folder}; it would count twice. "
                    "Move one of the two folders away."
                )
            results[run.run_id] = run
    return results, damaged


def _read_all(paths: list[Path]) -> Iterable[RunArrays | str]:
    """Each file's run, or what is wrong with it; many files are shared among processes."""
    workers = min(cpu_count(), HELPERS, len(paths) // MANY)
    if workers < 2:
        return map(_read, paths)
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_help) as pool:
            return list(pool.map(_read, paths, chunksize=64))
    except BrokenProcessPool:  # helpers were killed, or cannot start: `__main__` is a script without a main guard
        return map(_read, paths)


def _help() -> None:
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that is helped says when to stop


def _read(path: Path) -> RunArrays | str:
    try:
        return read_run(path)
    except ResultError as error:
        return _shown(str(error))


def _check_against_plan(results: dict[str, RunArrays], plan: dict[str, PlannedRun], root: Path) -> None:
    """ResultError when a result is not the run that its plan says: its group would be counted wrongly."""
    for run_id in results.keys() & plan.keys():
        for name in ("setting_id", "dataset", "model", "beta", "seed"):
            value, expected = getattr(results[run_id], name), getattr(plan[run_id], name)
            if value != expected:
                raise ResultError(
                    f"{root / plan[run_id].folder}: run {run_id} has {name} {value!r}, its plan says {expected!r}. "
                    f"Delete the outdated plan in {root / SWEEPS_FOLDER}, or move the folder away."
                )


def _read_failures(folders: list[Path], root: Path, titles: dict[str, str]) -> dict[str, str]:
    """Reason (the failure's first line) of each run in these folders, by its title; of a folder without one, by folder."""
    failed: dict[str, str] = {}
    for folder in folders:
        title = titles.get(os.path.normpath(folder), _shown(folder.relative_to(root).as_posix()))
        try:
            lines = (folder / FAILURE_FILE).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except FileNotFoundError:  # the run has been started again
            continue
        except OSError as error:
            lines = [f"{FAILURE_FILE} cannot be read ({error.strerror})"]
        failed[title] = lines[0] if lines else "no reason given"
    return failed
