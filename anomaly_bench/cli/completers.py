"""What the Tab key offers in place of an argument. Imports nothing that takes time before it is asked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from data_modules.base.options.folders import groups, options_of, searching

Completer = Callable[..., list[str]]  # called with prefix=, the word so far, and parsed_args=, what stands before it
RESULT = "result.json"


def by_tab(action: argparse.Action, completer: Completer) -> None:
    """Let the Tab key complete an argument."""
    action.completer = completer  # type: ignore[attr-defined]


def folders_of_runs(prefix: str, **_: object) -> list[str]:
    """Folders that finished runs were written to; where there is none, all folders, to go on from."""
    below = [*_folders(prefix)]
    holding = [folder for folder in below if any(Path(folder).expanduser().glob(f"*/{RESULT}"))]
    return holding or [f"{folder}/" for folder in below]


def finished_runs(prefix: str, **_: object) -> list[str]:
    """Folders of finished runs, and those to go on from that hold some; where there is none, all folders."""
    below = [*_folders(prefix)]
    done = [folder for folder in below if (Path(folder).expanduser() / RESULT).exists()]
    holding = [f"{folder}/" for folder in below if any(Path(folder).expanduser().glob(f"*/{RESULT}"))]
    return [*done, *holding] or [f"{folder}/" for folder in below]


def runs_below(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Ids of the finished runs in the folder that stands before."""
    return [path.parent.name for path in Path(parsed_args.folder).expanduser().glob(f"*/{RESULT}")]


def datasets(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The names of all datasets."""
    with searching(getattr(parsed_args, "config_dir", [])):
        return options_of("dataset")


def overrides(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """`group=option`, `key=value`, and the same with several values, a,b; of the user's own configs too."""
    from anomaly_bench.config.complete import completions

    with searching(getattr(parsed_args, "config_dir", [])):
        return completions(prefix)


def told_keys(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """What `config` tells of: groups, their options and keys."""
    found = overrides(prefix, parsed_args)
    options = [text for text in found if text.rstrip("=") in groups()]
    return found if "=" in prefix else [*options, *(text.rstrip("=") for text in found)]


def _folders(prefix: str) -> Iterator[str]:
    """Folders whose paths begin as the prefix does, spelled as it is; hidden ones only if it asks for them."""
    written, _, name = prefix.rpartition("/")
    start = f"{written}/" if "/" in prefix else ""
    for path in sorted(Path(start or ".").expanduser().iterdir()):
        if path.name.startswith(name) and (name or not path.name.startswith(".")) and path.is_dir():
            yield start + path.name
