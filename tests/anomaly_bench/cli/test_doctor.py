import platform
from pathlib import Path

import pytest


@pytest.mark.slow
def test_doctor_finds_this_machine_ready(cli, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("doctor")
    assert code == 0
    assert f"{'python':<18}{platform.python_version()}" in out
    assert "data (which is not there); at hand: " in out
    for word in ("torch", "device", "cache", "GiB free", str(Path(cache))):
        assert word in out
