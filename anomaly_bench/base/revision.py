"""Which version of the code this is."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_revision() -> str | None:
    """The revision of the checkout that this code runs from, with '+' if it has changes; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
        return (
            git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
            if tracked
            else None
        )
    except (OSError, subprocess.CalledProcessError):
        return None
