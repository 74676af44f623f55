"""What decides the pixels of a store beside its settings and files: this package's source, and the libraries it calls."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

# which decide pixels; those that decompress do not, as the checksums of gzip vouch for what they make
LIBRARIES = ("monai", "torch", "numpy", "scipy", "nibabel", "pillow", "SimpleITK")
NO_PIXELS = (  # source files which do not, so that a change of theirs leaves the stores valid
    "augment",
    "catalog",
    "checks",
    "describe",
    "download",
    "fetch",
    "findings",
    "hints",
    "histograms",
    "names",
    "places",
    "sheet",
    "sources",
    "split",
    "split_check",
    "split_given",
    "subjects",
    "tiles",
    "unpack",
    "verify",
    "verify_pictures",
    "verify_volumes",
)


def code_digest() -> str:
    """Digest of the source that decides pixels: another version of it never reads an older version's store."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in NO_PIXELS:
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def library_versions() -> dict[str, str | None]:
    """The installed versions of the libraries that read, resample and resize; None for one that is not there."""
    found: dict[str, str | None] = dict.fromkeys(LIBRARIES)
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
