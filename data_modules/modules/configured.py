"""The config of a data module that is made in Python: of a dataset's name, or given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from data_modules.base.config import DatasetConfig, NiftiConfig, PictureConfig
from data_modules.base.errors import ConfigError, DataError
from data_modules.base.options.compose import compose_dataset, dataset_with

HOLDS = {NiftiConfig: ("volumes", "NiftiDataModule"), PictureConfig: ("pictures", "PictureDataModule")}
C = TypeVar("C", bound=DatasetConfig)


def configured(dataset: str | DatasetConfig, keys: Mapping[str, Any], schema: type[C], seed: int) -> C:
    """What `dataset=NAME dataset.KEY=VALUE seed=SEED` is on the command line, or the given config with these keys.

    healthy="NAME" among the keys stands for `+dataset@dataset.healthy=NAME`.
    Raises DataError for an unknown name or key, a value of a wrong type or range, and a dataset that is not of the schema.
    """
    if not isinstance(dataset, str | DatasetConfig):
        raise DataError(f"dataset={dataset!r}: expected the name of a dataset, or a {schema.__name__}")
    if isinstance(dataset, schema) and not keys:
        return dataset
    try:
        composed, keys = _composed(dataset, keys, seed)
        kind = OmegaConf.get_type(composed, "dataset")
        if kind is not None and not issubclass(kind, schema):
            holds, module = HOLDS[kind]
            given = f'"{dataset}"' if isinstance(dataset, str) else "config"
            raise DataError(f"{composed.dataset.name} holds {holds}: {module}({given})")
        return dataset_with(composed, keys)  # type: ignore[return-value]
    except ConfigError as error:
        raise DataError(str(error)) from None


def _composed(dataset: str | DatasetConfig, keys: Mapping[str, Any], seed: int) -> tuple[DictConfig, Mapping[str, Any]]:
    """The composed dataset, and the keys that are still to be set in it: not a healthy cohort that is given by its name."""
    if not isinstance(dataset, str):
        return OmegaConf.create({"dataset": OmegaConf.structured(dataset)}), keys
    if not isinstance(keys.get("healthy"), str):
        return compose_dataset(dataset, seed), keys
    return compose_dataset(dataset, seed, keys["healthy"]), {key: keys[key] for key in keys if key != "healthy"}
