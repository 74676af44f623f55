"""The examples of docs/metrics.md run as they stand."""

import re
from pathlib import Path

import pytest
from checkout import ROOT

TEXT = (ROOT / "docs" / "metrics.md").read_text()
EXAMPLES = re.findall(r"```python\n((?!# my_).*?)```", TEXT, re.DOTALL)  # those of test_own.py are modules


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert capsys.readouterr().out


def test_the_first_example_is_short_and_there_are_others() -> None:
    calls = [line for line in EXAMPLES[0].splitlines() if line and "import" not in line]
    assert len(calls) <= 5
    assert len(EXAMPLES) == 3
