"""What the packages say to their users: they may have been installed without a checkout."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGETS = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if "##" in line}


def _texts(path):
    return (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))


def test_no_text_of_the_packages_sends_anybody_to_make():
    assert {"setup", "bench", "check"} <= TARGETS
    named = (*(f"make {target}" for target in TARGETS), "with make")
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for package in ("anomaly_bench", "data_modules", "leaderboard")
        for path in (ROOT / package).rglob("*.py")
        for text in _texts(path)
        if isinstance(text, str) and any(words in text for words in named)
    ]
    assert found == []
