"""Synthetic datasets that need no download: written to disk once as real files, then read like any other dataset."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_modules.base.atomic import is_whole, publish
from data_modules.base.digests import digest_of, digest_of_code, hash_of
from data_modules.base.errors import DataError, did_you_mean
from data_modules.base.locks import locked

from .brain_anatomy import TEMPLATE_FILES
from .tiny_brain import write_tiny_brain
from .tiny_texture import write_tiny_texture

Progress = Callable[[int, int], None]
EMBEDDED: dict[str, Callable[..., None]] = {"tiny_brain": write_tiny_brain, "tiny_texture": write_tiny_texture}
ROOM = Path(__file__).parent


def ensure_embedded(name: str, cache_dir: Path, progress: Progress | None = None) -> Path:
    """The folder ``cache_dir/embedded/<name>-<digest>`` of the dataset ``name``, written now if it is not there yet,
    or if a file of it is gone or of another size.

    The folder appears whole or not at all; of several processes that want it at once, one writes it and the others wait.
    Raises DataError for an unknown name; OSErrors (disk full, no permission) propagate.
    """
    if name not in EMBEDDED:
        raise DataError(f"dataset.embedded={name}: there is no such dataset; {did_you_mean(name, EMBEDDED)}")
    folder = embedded_root(name, cache_dir)
    if is_whole(folder):
        return folder
    with locked(folder):
        if is_whole(folder):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            written = Path(scratch) / name
            EMBEDDED[name](written, progress=progress)
            publish(written, folder)
    return folder


def embedded_root(name: str, cache_dir: Path) -> Path:
    """The folder in the cache that an embedded dataset is written to on first use."""
    return cache_dir / "embedded" / f"{name}-{embedded_digest(name)}"


def embedded_digest(name: str) -> str:
    """12 hexadecimal digits that change with this room's code, with the anatomy it is drawn from and with the parameters."""
    anatomy = [digest_of(path) for path in TEMPLATE_FILES]
    return hash_of([digest_of_code([ROOM]), anatomy, _parameters(EMBEDDED[name])], size=6)


def _parameters(write: Callable[..., None]) -> dict[str, Any]:
    """The keyword parameters with which ``write`` is called, its defaults."""
    defaults = inspect.signature(write).parameters.values()
    return {p.name: p.default for p in defaults if p.default is not p.empty and p.name != "progress"}
