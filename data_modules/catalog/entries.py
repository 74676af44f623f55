"""Which datasets there are, where each is expected, and whether it is there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_modules.base.config import DatasetConfig, NiftiConfig, PictureConfig
from data_modules.base.errors import DataError, Report
from data_modules.base.names import dataset_name, folder_of
from data_modules.cases.case import Case
from data_modules.cases.cohorts import find_volumes, modalities
from data_modules.cases.pictures import find_pictures
from data_modules.embedded import embedded_root


@dataclass(frozen=True)
class Entry:
    """One dataset of the catalogue.

    option: what `dataset=` takes; state: 'here', 'missing' (no such folder), 'unfit' (a folder in which no layout fits),
    'incomplete' (keys of it are to be set) or 'on first use' (embedded, made when it is first needed); subjects: how many
    were found, None if none was looked for; note: why it is unfit or incomplete, or what is wrong with some subjects.
    """

    option: str
    name: str
    title: str
    kind: str
    domain: str
    access: str
    licence: str
    homepage: str
    root: Path
    state: str
    subjects: int | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "root": str(self.root)}


def look(option: str, config: DatasetConfig, cache_dir: Path, data_dir: Path) -> Entry:
    """The entry of a dataset. Lists its folder and fits the file patterns; opens no volume or picture."""
    about = config.about
    state: tuple[str, int | None, str]
    try:
        root = _root(config, cache_dir, data_dir)
        if isinstance(config, NiftiConfig):
            modalities(config)
        state = _state(config, root, data_dir)
    except DataError as error:
        root, state = data_dir / config.name, ("incomplete", None, str(error))
    return Entry(
        option=option,
        name=dataset_name(config),
        title=(about.title if about else "your own") + _healthy(config),
        kind=config.kind,
        domain=config.domain,
        access=about.access if about else ("embedded" if config.embedded else "yours"),
        licence=about.licence if about else "",
        homepage=about.homepage if about else "",
        root=root,
        state=state[0],
        subjects=state[1],
        note=state[2],
    )


def _healthy(config: DatasetConfig) -> str:
    healthy = config.healthy if isinstance(config, NiftiConfig) else None
    return f", with healthy subjects of {healthy.name}" if healthy else ""


def _root(config: DatasetConfig, cache_dir: Path, data_dir: Path) -> Path:
    return embedded_root(config.embedded, cache_dir) if config.embedded else folder_of(config, data_dir)


def _state(config: DatasetConfig, root: Path, data_dir: Path) -> tuple[str, int | None, str]:
    if not root.is_dir():
        return ("on first use" if config.embedded else "missing"), None, ""
    if isinstance(config, PictureConfig) and config.convert is not None:
        return "here", None, ""  # nothing is converted for this
    problems: list[DataError] = []
    try:
        cases = _cases(config, root, data_dir, problems.append)
    except DataError as error:
        return "unfit", None, str(error)
    note = f"{len(problems)} left out, the first: {problems[0]}" if problems else ""
    return "here", len(cases), note


def _cases(config: DatasetConfig, root: Path, data_dir: Path, report: Report) -> list[Case]:
    if isinstance(config, NiftiConfig):
        return find_volumes(config, root, data_dir, modalities(config), report)
    assert isinstance(config, PictureConfig)
    # the masks are not opened for this
    return find_pictures(replace(config, empty_mask_is_normal=False), root, report)
