"""Hydra composes the YAML groups; a dataset's part of them is its config."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError  # type: ignore[import-untyped]
from yaml.reader import ReaderError  # type: ignore[import-untyped]

from data_modules.base.config import SCHEMAS, DatasetConfig, HealthyConfig, NiftiConfig
from data_modules.base.errors import ConfigError

from .folders import check_unique, config_dirs, groups, options_of
from .messages import explain, first_line, no_such_option, unknown_key, unknown_option
from .ranges import check_ranges
from .yaml_file import check_yaml


def compose_dataset(name: str, seed: int, healthy: str | None = None) -> DictConfig:
    """What `dataset=NAME seed=SEED` composes, with the dataset in its schema's types; with `+dataset@dataset.healthy=HEALTHY`.

    Raises ConfigError.
    """
    chosen = {"dataset": name} if healthy is None else {"dataset": name, "+dataset@dataset.healthy": healthy}
    for key, option in chosen.items():
        if option not in options_of("dataset"):
            raise ConfigError(no_such_option("dataset", option, f"{key}={option}"))
    composed = compose_groups([*(f"{key}={option}" for key, option in chosen.items()), f"seed={seed}"])
    schema = OmegaConf.create({"dataset": OmegaConf.structured(schema_of(SCHEMAS, composed, "dataset"))})
    strip_healthy(composed)
    with _explained(schema):
        return OmegaConf.merge(schema, composed)  # type: ignore[return-value]


def dataset_with(composed: DictConfig, keys: Mapping[str, Any]) -> DatasetConfig:
    """The dataset of a composed config, with keys set as `dataset.KEY=VALUE` does: mappings are merged, lists replaced.

    Tuples stand for lists, paths for texts. Raises ConfigError for an unknown key and a value of a wrong type or range.
    """
    with _explained(composed):
        for key, value in keys.items():
            OmegaConf.update(composed, f"dataset.{key}", plain(value))
        dataset: DatasetConfig = OmegaConf.to_object(composed.dataset)  # type: ignore[assignment]
    check_ranges(dataset, "dataset.", set())
    return dataset


def compose_groups(choices: Sequence[str]) -> DictConfig:
    """The YAML of the chosen options (`dataset=brats`), as it is written. Raises ConfigError."""
    try:
        shipped, *others = config_dirs()
        _check_files(choices, others)
        places = ",".join(f'"file://{_quoted(folder)}"' for folder in others)
        with _no_other_hydra(), initialize_config_dir(str(shipped), version_base="1.3"):
            lines = [*choices, f"hydra.searchpath=[{places}]"]
            composed = compose("config", lines, return_hydra_config=True)
        check_unique(composed.hydra.runtime.choices)
        for group in set(groups()) - set(composed.hydra.runtime.choices):  # Hydra would merge the options of a list
            raise ConfigError(f"{group}: expected the name of one option in the YAML's defaults, got a list")
        OmegaConf.set_struct(composed, None)  # the schema says what is allowed
        del composed["hydra"]
        for group in groups():
            if isinstance(composed.get(group), ListConfig | str):
                raise ConfigError(f"{group}: its YAML holds no keys; expected lines of the form key: value")
        return composed
    except ConfigError:
        raise
    except MissingConfigException as error:
        raise ConfigError(unknown_option(str(error))) from error
    except RecursionError:
        raise ConfigError(
            f"{' '.join(choices)}: its YAML or defaults contain themselves, or are nested too deeply; correct them"
        ) from None
    except MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        place = f"{where.name}, line {where.line + 1}" if where else "a config"
        raise ConfigError(f"{place}: is no YAML ({error.problem}); correct it") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"a config is no text in UTF-8 ({first_line(error)}); save it so") from error
    except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:  # of defaults and of numbers, too
        said = (
            first_line(error) if str(error).strip() else str(error.__cause__ or type(error).__name__).partition("\n")[0]
        )
        raise ConfigError(f"{' '.join(choices)}: {said}; correct its YAML") from error


def _check_files(choices: Sequence[str], folders: Sequence[Path]) -> None:
    """Of the user's own files alone. Raises ConfigError."""
    for choice in choices:
        key, _, option = choice.lstrip("+").partition("=")
        for folder in folders:
            path = folder / key.partition("@")[0] / f"{option}.yaml"
            try:
                if path.is_file():
                    check_yaml(path)
            except MarkedYAMLError:
                raise
            except (ReaderError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path}: is no text in UTF-8 ({first_line(error)}); save it so") from error
            except OSError as error:
                raise ConfigError(f"{path}: cannot be read ({error.strerror}); correct it") from error
            except YAMLError as error:
                raise ConfigError(f"{path}: is no YAML ({first_line(error)}); correct it") from error


def schema_of(schemas: Mapping[str, Any], composed: DictConfig, group: str) -> Any:
    """The dataclass of the kind of a group. Raises ConfigError for an unknown kind."""
    try:
        kind = OmegaConf.select(composed, f"{group}.kind")
    except OmegaConfBaseException as error:
        raise ConfigError(f"{group}.kind: {first_line(error)}; expected one of {', '.join(schemas)}") from error
    if kind not in schemas:
        raise ConfigError(f"{group}.kind={kind}: expected one of {', '.join(schemas)}")
    return schemas[kind]


def strip_healthy(composed: DictConfig) -> None:
    """A dataset's YAML at dataset.healthy says more than where a cohort lies; the dataset itself decides the rest.

    Its split.group stays as dataset.healthy.group: who is one person is known of the healthy cohort alone.
    """
    healthy = composed.dataset.get("healthy")
    if healthy is not None:
        group = OmegaConf.select(healthy, "split.group")
        if group is not None and "group" not in healthy:
            healthy.group = group
        for key in set(NiftiConfig.__dataclass_fields__) - set(HealthyConfig.__dataclass_fields__):
            healthy.pop(key, None)


def plain(value: Any) -> Any:
    """The value in types that a YAML has: lists for tuples, texts for paths, the home folder for ~."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.startswith("~/")):
        return os.path.expanduser(value)  # noqa: PTH111 (of a text)
    return value


@contextmanager
def _explained(config: DictConfig) -> Iterator[None]:
    """A ConfigError for what OmegaConf refuses to set in the dataset of this config."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, lambda key: _unknown(key, config))) from error


def _unknown(key: str, config: DictConfig) -> str:
    beside = OmegaConf.select(config, key.rpartition(".")[0]) or config.dataset
    there = f"there are {', '.join(map(str, beside))}"
    return unknown_key(key, OmegaConf.masked_copy(config, "dataset"), otherwise=there)


@contextmanager
def _no_other_hydra() -> Iterator[None]:
    """Hydra composes for us inside a program that is itself one of Hydra's, too."""
    theirs = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = theirs


def _quoted(folder: Path) -> str:
    return str(folder).replace("\\", "\\\\").replace('"', '\\"')
