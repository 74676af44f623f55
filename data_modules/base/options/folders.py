"""Where the options of the config groups (dataset=…, model=…) come from: the shipped folder and the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from data_modules.base.errors import ConfigError

CONFIG_DIR_VARIABLE = "ANOMALY_BENCH_CONFIG_DIR"


def config_dir() -> Path:
    """The shipped configs: inside the installed package, or at the top of a checkout."""
    home = Path(__file__).parents[3]
    installed = home / "anomaly_bench/configs"
    return installed if installed.is_dir() else home / "configs"


def config_dirs() -> list[Path]:
    """The shipped configs, then the user's folders of the same shape, as $ANOMALY_BENCH_CONFIG_DIR lists them.

    Raises ConfigError for one that is missing or that has no group's folder.
    """
    listed = filter(None, os.environ.get(CONFIG_DIR_VARIABLE, "").split(os.pathsep))
    dirs = [config_dir().resolve()]
    for folder in dict.fromkeys(Path(text).expanduser().resolve() for text in listed):
        _check_folder(folder)
        dirs.append(folder)
    return dirs


def check_unique(choices: Mapping[str, str | None]) -> None:
    """Raise ConfigError if one of the chosen options, by group (or group@key), is in more than one of the folders."""
    for key, option in choices.items():
        group = key.partition("@")[0]
        paths = [path for folder in config_dirs() if (path := folder / group / f"{option}.yaml").is_file()]
        if len(paths) > 1:
            raise ConfigError(f"{paths[1]}: {paths[0]} is {group}={option} already; give the file another name")


def groups() -> list[str]:
    """The config groups: dataset, model, …"""
    return list(_shipped_groups())


def options_of(group: str) -> list[str]:
    """The options of a group, such as all datasets, sorted by name: the shipped ones and the user's."""
    return sorted({path.stem for folder in config_dirs() for path in (folder / group).glob("*.yaml") if path.is_file()})


@contextmanager
def searching(folders: Sequence[str]) -> Iterator[None]:
    """Add the user's config folders; by the environment, so that the processes that are started know them too."""
    before = os.environ.get(CONFIG_DIR_VARIABLE)
    if folders:
        os.environ[CONFIG_DIR_VARIABLE] = os.pathsep.join([*folders, *filter(None, [before])])
    try:
        yield
    finally:
        os.environ.pop(CONFIG_DIR_VARIABLE, None)
        if before is not None:
            os.environ[CONFIG_DIR_VARIABLE] = before


@cache
def _shipped_groups() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in config_dir().iterdir() if path.is_dir()))


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {folder}: no such folder")
    if not any((folder / group).is_dir() for group in groups()):
        raise ConfigError(
            f"--config-dir {folder}: it has none of the folders {', '.join(groups())}; "
            f"for dataset=my put my.yaml into {folder / 'dataset'}"
        )
