"""The volumes of a file whose header nibabel has read, as flat arrays, with no copy to spare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from isal import igzip
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

CHUNK = 1 << 22  # bytes that are read, and converted where needed, at a time
COMPRESSED = (".gz", ".mgz")


def read_frames(file: str, proxy: Any, frames: list[int]) -> dict[int, NDArray[Any]]:
    """Some of the volumes along the last axis of a file of numbers in Fortran order, each flat, in that order.

    The file is read in a single pass, a compressed one to its end, where the checksum is.
    proxy: nibabel's ArrayProxy of the file. Voxels are of the type in the file if that is an integer of at most 16 bits
    without scaling, else float32. Raises OSError, EOFError, RuntimeError or zlib.error if the file is damaged.
    """
    _, bytes_each = _per_frame(proxy)
    arrays: dict[int, NDArray[Any]] = {}
    compressed = file.lower().endswith(COMPRESSED)
    with igzip.open(file, "rb") if compressed else Path(file).open("rb") as stream:
        stream.seek(proxy.offset)
        position = 0
        for frame in sorted(set(frames)):
            stream.seek((frame - position) * bytes_each, 1)
            arrays[frame] = _read_frame(stream, proxy)
            position = frame + 1
        while compressed and stream.read(CHUNK):
            pass
    return arrays


def _per_frame(proxy: Any) -> tuple[int, int]:
    """Voxels and bytes of a frame."""
    count = int(np.prod(proxy.shape[:3]))
    return count, count * int(proxy.dtype.itemsize)


def _is_kept(proxy: Any) -> bool:
    """Whether voxels stay of the type in the file: small integers and float32 without scaling."""
    small = proxy.dtype.kind in "iu" and proxy.dtype.itemsize <= 2
    return bool(proxy.dtype.isnative and not _has_scale(proxy) and (small or proxy.dtype == np.float32))


def _has_scale(proxy: Any) -> bool:
    return bool((proxy.slope, proxy.inter) != (1, 0))


def _scaled(raw: NDArray[Any], proxy: Any) -> NDArray[Any]:
    scaled: NDArray[Any] = apply_read_scaling(raw, proxy.slope, proxy.inter) if _has_scale(proxy) else raw
    return scaled


def _read_frame(stream: BinaryIO, proxy: Any) -> NDArray[Any]:
    """The next volume of a stream, flat."""
    count, dtype = _per_frame(proxy)[0], proxy.dtype
    out = np.empty(count, dtype if _is_kept(proxy) else np.float32)
    step = CHUNK // max(dtype.itemsize, 4)
    buffer = None if _is_kept(proxy) else np.empty(min(step, count), dtype)
    for start in range(0, count, step):
        part = out[start : start + step]
        raw = part if buffer is None else buffer[: len(part)]
        _fill(stream, memoryview(raw.view(np.uint8).data))
        if buffer is not None:
            part[:] = _scaled(raw, proxy)
    return out


def _fill(stream: BinaryIO, view: memoryview) -> None:
    readinto = cast(Callable[[memoryview], int], stream.readinto)  # type: ignore[attr-defined]
    done = 0
    while done < len(view):
        got = readinto(view[done:])
        if not got:
            raise EOFError("the file ends before its last voxel")
        done += got
