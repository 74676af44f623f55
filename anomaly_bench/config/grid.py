"""A grid of runs: `key=a,b` overrides and the `sweep` mapping of a YAML → one config for each run."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from anomaly_bench.base.errors import ConfigError
from data_modules.base.options.folders import groups, options_of
from data_modules.base.options.messages import no_such_option
from data_modules.base.options.yaml_file import check_yaml

from .checks import check_values
from .compose import MOST_RUNS, SWEEP, compose_groups, parse, parse_one, to_config, update, with_schema
from .schema import RunConfig

EXAMPLE = "sweep: {model.beta: [0.5, 1, 4], seed: [0, 1, 2]}"
SIMPLE = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Axis:
    """A key and the values that it takes, one after the other; of a group (`+group@place` too), the names of its options."""

    key: str
    values: tuple[Any, ...]

    @property
    def group(self) -> bool:
        return self.key.lstrip("+").partition("@")[0] in groups()


def load_grid(overrides: Sequence[str], file: Path | None = None) -> list[RunConfig]:
    """The configs of the grid that the overrides span, with the `sweep` of the chosen experiment and of a YAML file.

    A key on the command line takes the place of its list in the experiment or the file, one in the file that of the
    experiment. Options are composed once, however many runs share them. Raises ConfigError.
    """
    given = [_axis(override) for override in parse(overrides)]
    _check_count(given)
    written = {} if file is None else _read_file(file)
    configs: list[RunConfig] = []
    for choices in _choices(axis for axis in given if axis.group):
        first = compose_groups(choices)
        sweep = {**_sweep_of(first, choices), **written}
        known = {axis.key for axis in given}
        listed = [_listed(key, values) for key, values in sweep.items() if key not in known]
        _check_count([*listed, *given])
        for more in _choices(axis for axis in listed if axis.group):
            composed = compose_groups([*choices, *more]) if more else first
            composed.pop(SWEEP, None)
            configs += _configs(with_schema(composed), [axis for axis in [*listed, *given] if not axis.group])
    check_values(configs)
    return configs


def _axis(override: Override) -> Axis:
    key = str(override.key_or_group)
    of_group = key in groups()
    if of_group:
        key = override.get_key_element()
    if not override.is_sweep_override():
        value = override.value()
        return Axis(key, (_option(key, value, str(override.input_line).partition("=")[2]) if of_group else value,))
    texts, values = list(override.sweep_string_iterator()), override.sweep_iterator()
    if twice := [text for text, count in Counter(texts).items() if count > 1]:
        raise ConfigError(f"{key}: {twice[0]} is there twice, which would be one run; name each value once")
    if of_group:
        return Axis(key, tuple(_option(key, value, text) for text, value in zip(texts, values, strict=True)))
    simple = (
        value if isinstance(value, SIMPLE) else parse_one(f"{key}={text}").value()
        for text, value in zip(texts, values, strict=True)
    )
    return Axis(key, tuple(simple))


def _option(key: str, value: Any, text: str) -> str:
    """The name of an option as it was written. Raises ConfigError for what names none, or several at once."""
    group = key.lstrip("+").partition("@")[0]
    if isinstance(value, list):
        one_each = f"{key}={','.join(map(str, value)) or 'a,b'}"
        raise ConfigError(f"{key}={text}: expected one option; `anomaly-bench bench {one_each}` does a run with each")
    if not isinstance(value, str) or value.removesuffix(".yaml") not in options_of(group):
        raise ConfigError(no_such_option(group, str(value), f"{key}={text}"))
    return text


def _check_count(axes: Sequence[Axis]) -> None:
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST_RUNS:
        long = max(axes, key=lambda axis: len(axis.values)).key
        raise ConfigError(f"{long}=…: a grid of {count:,} runs; expected at most {MOST_RUNS:,}, name fewer values")


def _choices(axes: Iterable[Axis]) -> Iterator[list[str]]:
    spelled = [[f"{axis.key}={value}" for value in axis.values] for axis in axes]
    return map(list, product(*spelled))


def _configs(base: DictConfig, axes: list[Axis]) -> list[RunConfig]:
    """Every combination of the axes' values, set in their order."""
    for axis in axes:
        if len(axis.values) == 1 and not _tangled(axes):
            update(base, axis.key, axis.values[0])
    if _tangled(axes) or "${" in OmegaConf.to_yaml(base):
        return [_one(base, axes, values) for values in product(*(axis.values for axis in axes))]
    swept = [axis for axis in axes if len(axis.values) > 1]
    typed = [[_typed(base, axis.key, value) for value in axis.values] for axis in swept]
    config = to_config(base)
    paths = [axis.key.lstrip("+").split(".") for axis in swept]
    return [_with(config, list(zip(paths, values, strict=True))) for values in product(*typed)]


def _tangled(axes: list[Axis]) -> bool:
    """Whether the value of one key may depend on that of another: then each combination is composed by itself."""
    keys = [f"{axis.key}." for axis in axes]
    nested = any(one.startswith(other) for at, one in enumerate(keys) for to, other in enumerate(keys) if at != to)
    values = [value for axis in axes if len(axis.values) > 1 for value in axis.values]
    return nested or any(isinstance(value, dict) or "${" in str(value) for value in values)


def _one(base: DictConfig, axes: list[Axis], values: tuple[Any, ...]) -> RunConfig:
    config = copy.deepcopy(base)
    for axis, value in zip(axes, values, strict=True):
        update(config, axis.key, value)
    return to_config(config)


def _typed(base: DictConfig, key: str, value: Any) -> Any:
    """The value as the schema has it."""
    update(base, key, value)
    found = OmegaConf.select(base, key)
    return OmegaConf.to_container(found) if isinstance(found, ListConfig) else found


def _with(config: Any, changes: list[tuple[list[str], Any]]) -> Any:
    """The config with the values at their paths replaced; what does not change is shared."""
    for path, value in changes:
        config = _replaced(config, path, value)
    return config


def _replaced(node: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{name: _replaced(getattr(node, name), rest, value) if rest else value})
    return {**node, name: _replaced(node[name], rest, value) if rest else value}


def _sweep_of(composed: DictConfig, choices: list[str]) -> Mapping[str, Any]:
    found = composed.get(SWEEP)
    if found is None:
        return {}
    if not isinstance(found, DictConfig):
        raise ConfigError(f"sweep in the YAML of {' '.join(choices)}: expected a mapping, {EXAMPLE}")
    return {str(key): value for key, value in OmegaConf.to_container(found).items()}  # type: ignore[union-attr]


def _read_file(file: Path) -> Mapping[str, Any]:
    try:
        check_yaml(file)
        document = OmegaConf.to_container(OmegaConf.load(file))
    except OSError as error:
        raise ConfigError(f"--sweep {file}: cannot be read ({error.strerror}); name a YAML file") from error
    except (YAMLError, ValueError, OmegaConfBaseException) as error:
        raise ConfigError(f"--sweep {file}: is no YAML ({error}); correct it") from error
    if not isinstance(document, dict) or list(document) != [SWEEP] or not isinstance(document[SWEEP], dict):
        raise ConfigError(f"--sweep {file}: expected nothing but {EXAMPLE}")
    return {str(key): value for key, value in document[SWEEP].items()}


def _listed(key: str, values: Any) -> Axis:
    """An axis of a `sweep`: a list of values, or a text in the grammar of overrides, such as range(5)."""
    if isinstance(values, list) and values:
        return Axis(key, tuple(values))
    if isinstance(values, str):
        return _axis(parse([f"{key}={values}"])[0])
    raise ConfigError(f"sweep: {key}: expected a list of values, got {values!r}; write {EXAMPLE}")
