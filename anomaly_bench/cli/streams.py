"""Standard output and error that outlast their terminal or pipe: whatever cannot be written is dropped, and work goes on."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO)  # whoever listened, at a pipe or a terminal, wants no more


class Outlasting(io.FileIO):
    """A stream that goes nowhere from its first failure on; lost: that failure."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        """See io.FileIO; raises nothing."""
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for what libraries write there as well
            os.close(nowhere)
            return super().write(data)


@contextmanager
def outlasting_streams() -> Iterator[None]:
    """What is printed inside may be lost, but ends nothing. A loss that nobody chose is told: one line, exit code 2."""
    before = sys.stdout, sys.stderr
    out = _outlasting(sys.stdout) if sys.stdout is sys.__stdout__ else None
    err = _outlasting(sys.stderr) if sys.stderr is sys.__stderr__ else None
    sys.stdout, sys.stderr = out or sys.stdout, err or sys.stderr
    try:
        try:
            yield
        except SystemExit:
            _tell_loss(out)
            raise
        _tell_loss(out)
    finally:
        for stream in filter(None, (out, err)):
            stream.flush()
        sys.stdout, sys.stderr = before


def _outlasting(stream: TextIO | None) -> io.TextIOWrapper | None:
    if not isinstance(stream, io.TextIOWrapper):
        return None
    raw = Outlasting(stream.fileno(), "w", closefd=False)
    at_once = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=at_once)


def _tell_loss(out: io.TextIOWrapper | None) -> None:
    if out is None:
        return
    out.flush()
    raw = out.buffer.raw  # type: ignore[attr-defined]
    if raw.lost is not None and raw.lost.errno not in GONE:
        said = f"standard output cannot be written ({raw.lost.strerror}): free some space, or print to another place"
        print(f"anomaly-bench: {said}; what was finished is kept", file=sys.stderr)
        raise SystemExit(2)
