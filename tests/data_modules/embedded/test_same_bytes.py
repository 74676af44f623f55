"""The embedded datasets hold the same bytes here and where numpy and its BLAS are told that the processor is an old one."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from data_modules.embedded.texture_materials import MATERIALS
from data_modules.embedded.tiny_brain import render_subject
from data_modules.embedded.tiny_texture import render_photo


def digests() -> list[str]:
    """Of two subjects and a few pictures of each material and kind."""
    brains = [render_subject(0, index) for index in range(2)]
    arrays = [array for brain in brains for array in (brain.flair, brain.t1, brain.seg)]
    kinds = ["good", "hole", "scratch", "shift", "stain"]
    photos = [render_photo(0, name, "test", kind, index) for name in MATERIALS for kind in kinds for index in range(4)]
    return [hashlib.sha256(array.tobytes()).hexdigest() for array in [*arrays, *(photo.image for photo in photos)]]


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_processor() -> None:
    features = np._core._multiarray_umath
    used = [name for name in features.__cpu_dispatch__ if features.__cpu_features__[name]]
    old = {"NPY_DISABLE_CPU_FEATURES": " ".join(used), "OPENBLAS_CORETYPE": "Nehalem"}
    done = subprocess.run(
        [sys.executable, __file__], env={**os.environ, **old}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == digests()


if __name__ == "__main__":
    print(*digests(), sep="\n")
