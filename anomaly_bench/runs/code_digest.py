"""What the code that decides the numbers is: the rooms of this package, and a user's own. Imports nothing heavy."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import data_modules
from data_modules.base.digests import digest_of_code, hash_of_bytes

# The rooms whose code decides numbers. What is not in them decides when and where a run is done, and how it is told.
ROOMS = ("models", "predictors", "metrics", "selection", "localization", "runs")
DATA_ROOMS = ("base", "cases", "readers", "transforms", "store", "modules", "embedded")
LIBRARIES = ("torch", "pytorch-lightning", "monai", "nibabel", "numpy", "scipy", "pillow")  # those that decide numbers
VERSIONED = (*LIBRARIES, "torchmetrics")

PACKAGES = ("anomaly_bench", "data_modules", "leaderboard")
INSTALLED = ("site-packages", "dist-packages")


@cache
def source_digest() -> str:
    """Digest of the rooms of code that decide the numbers: another version of them, another run."""
    here, data = Path(__file__).parents[1], Path(data_modules.__file__ or "").parent
    return digest_of_code([here / room for room in ROOMS] + [data / room for room in DATA_ROOMS])


def own_code_digests(import_paths: Iterable[str]) -> dict[str, str]:
    """By top-level package, the digests of the code of a user's own that these import paths name."""
    packages = {path.partition(".")[0] for path in import_paths}
    return {package: _own_code_digest(package) for package in sorted(packages.difference(PACKAGES))}


@cache
def _own_code_digest(package: str) -> str:
    """Digest of all Python files of a package, and of those packages that it imports and that are its user's own too.

    As the code was when it was first asked for: a process runs what it has imported.
    """
    known, left = {package: _files(package)}, [package]
    while left:
        imported = {name for _, path in known[left.pop()] for name in _imported(path)}
        for name in imported.difference(known, PACKAGES, sys.stdlib_module_names):
            if _together(name, package):
                known[name] = _files(name)
                left.append(name)
    placed = [(f"{name}/{place}".encode(), path) for name in sorted(known) for place, path in known[name]]
    return hash_of_bytes(*(part for place, path in placed for part in (place, path.read_bytes())))


def _homes(name: str) -> list[Path]:
    """The file of a top-level module or the folders of a package; none of one that cannot be found."""
    try:
        spec = find_spec(name)
    except ValueError:  # a module without one, such as __main__
        file = getattr(sys.modules.get(name), "__file__", None)
        return [Path(file)] if file else []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.has_location and spec.origin else []


def _files(name: str) -> list[tuple[str, Path]]:
    """The files of a top-level module or package, with their places in it; no hidden ones, and no environment's."""
    files = []
    for home in _homes(name):
        for path in sorted(home.rglob("*.py")) if home.is_dir() else [home]:
            place = path.relative_to(home)
            if not any(part.startswith(".") or part in INSTALLED for part in place.parts):
                files.append((place.as_posix(), path))
    return files


def _imported(path: Path) -> Iterator[str]:
    """The top-level modules that a file imports by their names, wherever in it."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):  # compiled, or a template of code
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _together(name: str, package: str) -> bool:
    """Whether what a package imports is its user's own: not installed, or by the distribution that the package is of."""
    if not _is_installed(name):
        return True
    if not _is_installed(package):
        return False
    distributions = packages_distributions()
    return not set(distributions.get(name, ())).isdisjoint(distributions.get(package, ()))


def _is_installed(name: str) -> bool:
    return any(part in INSTALLED for home in _homes(name) for part in home.parts)
