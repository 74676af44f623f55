"""Numbers and spans for people."""

import pytest

from anomaly_bench.base.text import human_bytes, human_days, plural


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**40, "3072.0 GiB")])
def test_bytes_for_humans(size, text):
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (90, "2 min"), (7200, "2 h"), (3 * 86400, "3 d")]
)
def test_spans_for_humans(seconds, text):
    assert human_days(seconds) == text


def test_counts_for_humans():
    assert [plural(count, "file") for count in (0, 1, 1234)] == ["0 files", "1 file", "1,234 files"]
