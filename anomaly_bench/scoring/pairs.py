"""Maps, masks and foregrounds in folders: which files there are, and which belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from anomaly_bench.base.text import plural
from data_modules.base.errors import DataError, Report, closest
from data_modules.base.names import composed
from data_modules.cases.files import is_image, list_files

from .maps import ENDINGS, NIFTI, NUMPY

DECORATIONS = {
    "maps": ("_anomaly_map", "_anomaly", "_heatmap", "_amap", "_map", "_scores", "_score", "_pred"),
    "masks": ("_ground_truth", "_mask", "_label", "_labels", "_seg", "_gt"),
    "foreground": ("_foreground", "_brain_mask", "_brain", "_mask"),
}
MAPS = ("maps", "normal-maps")
DECORATIONS["normal-maps"] = DECORATIONS["maps"]
BESIDE = ("_calibrated", "_overlay", "_segmentation")  # of what `localize` writes beside NAME_map
SHOWN = 10


class Item(NamedTuple):
    """One map with what belongs to it. name: its path below the folder of maps, without ending; mask None: normal."""

    name: str
    map: Path
    mask: Path | None
    foreground: Path | None


class Folders(NamedTuple):
    """Where maps, masks, foregrounds and the maps of other normal images lie; None: not given."""

    maps: Path
    masks: Path
    foreground: Path | None = None
    normal_maps: Path | None = None


def pair(
    folders: Folders, normal: str | Iterable[str] = (), missing_normal: bool = False
) -> tuple[list[Item], list[Item]]:
    """Every map with its mask and foreground by name, and the same of the normal maps.

    Names agree as paths below their folders, or as file names alone where these are unique on both sides.

    Args:
        normal: patterns of the maps' paths; a map that fits one may lack a mask and is normal then.
        missing_normal: any map without a mask is normal.

    Raises:
        DataError: names everything that is wrong at once: folders that are missing or empty, two files of one name,
            every map without a mask, every mask without a map, every map without a foreground, maps that are both
            normal maps and maps.
    """
    problems: list[DataError] = []
    report = problems.append
    scored, known = find(folders.maps, "maps", report), find(folders.masks, "masks", report)
    inside = find(folders.foreground, "foreground", report) if folders.foreground else None
    calm = find(folders.normal_maps, "normal-maps", report) if folders.normal_maps else {}
    raise_all(problems)
    masks = partners(scored, known)
    patterns = [normal] if isinstance(normal, str) else list(normal)
    allowed = {name for name, path in scored.items() if _fits(path.relative_to(folders.maps), patterns)}
    _check_masks(folders, scored, known, masks, set(scored) if missing_normal else allowed, report)
    items = _items(folders.maps, scored, masks, folders.foreground, inside, report)
    normals = _items(folders.normal_maps or Path(), calm, {}, folders.foreground, inside, report)
    tested = {path.resolve() for path in scored.values()}
    if both := [path for path in calm.values() if path.resolve() in tested]:
        said = f"{len(both)} of these maps lie in --maps too: {_listed(both)}"
        remedy = "no threshold may be set on images that are scored: give maps of other normal images"
        report(DataError(f"--normal-maps {folders.normal_maps}: {said}; {remedy}"))
    raise_all(problems)
    return items, normals


def find(folder: Path, role: str, report: Report) -> dict[str, Path]:
    """The files below a folder (see list_files) by name: the path without its ending, and without a usual suffix.

    role: one of DECORATIONS, which has the suffixes. What `localize` writes beside its maps is passed over. Reports a DataError
    if there is no such folder or no file in it, for two files of one name, and for images of kinds that are not read.
    """
    if not folder.is_dir():
        report(DataError(f"--{role} {folder}: is no folder; check the path after --{role}"))
        return {}
    paths: dict[str, Path] = {}
    others: Counter[str] = Counter()
    strange: list[Path] = []
    found = sorted(map(Path, list_files(folder)[0]))
    stems = {
        below: below.as_posix()[: -len(ending)]
        for below in found
        if (ending := next((end for end in ENDINGS if below.name.lower().endswith(end)), ""))
    }
    maps = {stem.removesuffix("_map") for stem in stems.values() if role in MAPS and stem.endswith("_map")}
    for below in found:
        path = folder / below
        if below not in stems:
            others[path.suffix.lower() or path.name] += 1
            strange += [path] if path.suffix and is_image(path.name) else []
            continue
        if any(stems[below].endswith(end) and stems[below].removesuffix(end) in maps for end in BESIDE):
            continue
        name = _bare(composed(stems[below]), role)
        if name in paths:
            both = f"{path} and {paths[name]} have one name, '{name}'"
            report(DataError(f"--{role}: {both}; leave one of them in the folder"))
        paths[name] = path
    if not paths:
        seen = ", ".join(f"{count} {kind}" for kind, count in others.most_common(3)) or "no file at all"
        endings = f"{', '.join((*NIFTI, *NUMPY))}, .png or as other pictures do"
        report(DataError(f"--{role} {folder}: expected files that end in {endings}; found {seen}"))
    elif strange:
        said = f"{plural(len(strange), 'file')} of a kind that is not read: {_listed(strange)}"
        report(DataError(f"--{role} {folder}: {said}; save them as NIfTI, .npy or .png, or leave them out"))
    return paths


def partners(names: Iterable[str], paths: dict[str, Path]) -> dict[str, Path]:
    """The file of each name that has one: by its whole path, else by its last part where that is unique on both sides.

    A file in a folder that the names have too belongs to the name in that folder, and to no other.
    """
    names = list(names)
    by_last = _unique({name: Path(name).name for name in paths})
    ours = _unique({name: Path(name).name for name in names})
    folders = {Path(name).parent for name in names} - {Path()}
    last = {
        full: paths[by_last[short]]
        for short, full in ours.items()
        if short in by_last and Path(by_last[short]).parent not in folders
    }
    return last | {name: paths[name] for name in names if name in paths}


def raise_all(problems: Sequence[DataError]) -> None:
    """Raise all problems as one DataError, if there are any."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        more = f"\n- and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        lines = "".join(f"\n- {problem}" for problem in problems[:SHOWN])
        raise DataError(f"{len(problems)} problems:{lines}{more}")


def _check_masks(
    folders: Folders,
    scored: dict[str, Path],
    known: dict[str, Path],
    masks: dict[str, Path],
    allowed: set[str],
    report: Report,
) -> None:
    """Report maps without a mask that are not allowed to lack one, and masks without a map."""
    lacking = {name: path for name, path in scored.items() if name not in masks and name not in allowed}
    used = set(masks.values())
    unused = {name: path for name, path in known.items() if path not in used}
    if lacking:
        remedy = "name them alike, or say which maps are normal by --normal GLOB or --missing-mask normal"
        said = f"{plural(len(lacking), 'map')} without a mask: {_listed(lacking.values())}"
        near = _nearest(next(iter(lacking)), unused, "mask")
        report(DataError(f"--maps {folders.maps}: {said}; {near}{remedy}"))
    if unused:
        said = f"{plural(len(unused), 'mask')} without a map: {_listed(unused.values())}"
        near = "" if lacking else _nearest(next(iter(unused)), scored, "map")
        report(DataError(f"--masks {folders.masks}: {said}; {near}name them alike, or leave these masks out"))


def _items(
    folder: Path,
    maps: dict[str, Path],
    masks: dict[str, Path],
    foreground: Path | None,
    paths: dict[str, Path] | None,
    report: Report,
) -> list[Item]:
    inside = {} if paths is None else partners(maps, paths)
    if paths is not None and (outside := [path for name, path in maps.items() if name not in inside]):
        said = f"{plural(len(outside), 'map')} without a foreground in {foreground}: {_listed(outside)}"
        report(DataError(f"{folder}: {said}; name them alike"))
    return [Item(name, path, masks.get(name), inside.get(name)) for name, path in maps.items()]


def _bare(name: str, role: str) -> str:
    """The name without its first decoration, unless nothing would be left."""
    fitting = (end for end in DECORATIONS[role] if name.lower().endswith(end) and len(Path(name).name) > len(end))
    return name[: -len(next(fitting, "")) or None]


def _nearest(name: str, paths: dict[str, Path], kind: str) -> str:
    """A hint at the file that may have been meant."""
    shorts = {Path(full).name: path for full, path in paths.items()}
    close = closest(Path(name).name, shorts)
    return f"the nearest {kind} to {name} is {shorts[close]}; " if close else ""


def _unique(shorts: dict[str, str]) -> dict[str, str]:
    """Short names that stand for one long name alone."""
    counts = Counter(shorts.values())
    return {short: full for full, short in shorts.items() if counts[short] == 1}


def _fits(path: Path, patterns: list[str]) -> bool:
    return any(fnmatch(composed(path.as_posix()), composed(pattern)) for pattern in patterns)


def _listed(paths: Iterable[Path]) -> str:
    all_of_them = list(paths)
    more = f" and {len(all_of_them) - SHOWN} more" if len(all_of_them) > SHOWN else ""
    return f"{', '.join(map(str, all_of_them[:SHOWN]))}{more}"
