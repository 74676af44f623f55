"""What decides the pixels of a store beside its settings and files: this package's source, and the libraries it calls."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from data_modules.base.digests import digest_of_code

# which decide pixels; those that decompress do not, as the checksums of gzip vouch for what they make
LIBRARIES = ("monai", "torch", "numpy", "scipy", "nibabel", "pillow", "SimpleITK")
ROOMS = ("readers", "transforms", "store", "modules")  # whose code decides pixels


def code_digest() -> str:
    """Digest of the source that decides pixels: another version of it never reads an older version's store."""
    return digest_of_code([Path(__file__).parents[1] / room for room in ROOMS])


@cache
def library_versions() -> dict[str, str | None]:
    """The installed versions of the libraries that read, resample and resize; None for one that is not there."""
    versions: dict[str, str | None] = dict.fromkeys(LIBRARIES)
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
