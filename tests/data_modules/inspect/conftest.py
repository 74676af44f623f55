"""Small datasets are verified as if they were large enough."""

import pytest


@pytest.fixture
def small_splits_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight subjects no split has three in each part; a test of its own is of that."""
    monkeypatch.setattr("data_modules.cases.split_checks.LEAST", 1)
