"""Where the files of a dataset are expected. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from .config import AboutConfig, DatasetConfig, HealthyConfig


def dataset_root(config: DatasetConfig, data_dir: Path) -> Path:
    """The folder of a dataset that is not embedded: `dataset.root`, else one of its name below the data folder."""
    return _root(config.root, config.about, config.name, data_dir)


def healthy_root(config: HealthyConfig, data_dir: Path) -> Path:
    """The folder of the healthy cohort: `dataset.healthy.root`, else one of its name below the data folder."""
    return _root(config.root, config.about, config.name, data_dir)


def embedded_root(name: str, cache_dir: Path) -> Path:
    """The folder in the cache that an embedded dataset is written to on first use."""
    from .embedded import embedded_digest  # SciPy comes with it

    return cache_dir / "embedded" / f"{name}-{embedded_digest(name)}"


def _root(root: str | None, about: AboutConfig | None, name: str, data_dir: Path) -> Path:
    if root is not None:
        return Path(root).expanduser()
    return data_dir / (about.folder if about and about.folder else name)
