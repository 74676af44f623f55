"""Overrides in Hydra's grammar, and a schema of dataclasses that refuses what it does not know."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep, Sweep
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from anomaly_bench.base.errors import ConfigError
from data_modules.base.config import SCHEMAS
from data_modules.base.options.compose import compose_groups as compose_groups
from data_modules.base.options.compose import schema_of, strip_healthy
from data_modules.base.options.folders import groups, options_of

from .messages import explain, first_line
from .schema import ENGINE_SCHEMAS, MODEL_SCHEMAS, RunConfig

SWEEP = "sweep"
# dataset.root=/data/C# proj: Hydra takes # in quotes alone
MARKED = re.compile(r"""([^=]+=)([^'"\[\]{},$\\]*#[^'"\[\]{},$\\]*)""")
MOST_RUNS = 100_000  # of a grid, which is in memory as a whole
MESSAGE = 300  # letters of a malformed override that are said
EVALUATED = " while evaluating "  # what Hydra says of a function's arguments helps; what its parser says does not


def parse(overrides: Sequence[str]) -> list[Override]:
    """Overrides in Hydra's grammar. Raises ConfigError for what is malformed or makes no grid."""
    parsed = [parse_one(re.sub(r"=~(?=/|$)", f"={Path.home()}", text)) for text in overrides]
    for override in parsed:
        if override.is_delete():
            raise ConfigError(f"{override.input_line}: a key cannot be deleted; set it to another value")
        if not override.key_or_group:
            raise ConfigError(f"{override.input_line}: there is no key; write key=value")
        swept = override.value() if override.is_sweep_override() else None
        mixed = isinstance(swept, ChoiceSweep) and any(isinstance(one, Sweep) for one in swept.list)
        if swept is not None and (mixed or isinstance(swept, Glob) or not override.is_discrete_sweep()):
            raise ConfigError(f"{override.input_line}: a grid needs values, key=a,b or 'key=range(3)'")
        if isinstance(swept, RangeSweep):
            _check_range(str(override.input_line), swept)
    return parsed


def parse_one(text: str) -> Override:
    if marked := MARKED.fullmatch(text):
        text = f'{marked[1]}"{marked[2]}"'
    try:
        return OverridesParser.create().parse_override(text)
    except Exception as error:  # Hydra's, OmegaConf's, of decimal numbers, and of what is nested too deeply
        key, equals, _ = text.partition("=")
        if not equals:
            group = next((group for group in groups() if text in options_of(group)), None)
            example = f"{group}={text}" if group else "dataset=tiny_brain"
            raise ConfigError(f"{_cut(text)}: expected KEY=VALUE, such as {example}") from error
        said = shorten(first_line(error), MESSAGE, placeholder=" …") if EVALUATED in str(error) else "no valid override"
        raise ConfigError(
            f"{_cut(text)}: {said} (Hydra's grammar); write key=value, several values as key=a,b and lists as key=[a,b]; a "
            f"value with other signs, such as a pattern, needs two kinds of quotes: '{key}=\"…\"'"
        ) from error


def _check_range(text: str, swept: RangeSweep) -> None:
    """Raises ConfigError for a range without values, and for one with more than a grid may have."""
    start, stop, step = (float(bound) for bound in (swept.start or 0, swept.stop or 0, swept.step))
    if not step or not all(map(math.isfinite, (start, stop, step))):
        raise ConfigError(f"{text}: expected finite numbers and a step other than 0, 'key=range(0,10,2)'")
    count = (stop - start) / step
    if count <= 0:
        raise ConfigError(f"{text}: a range without any value; write 'key=range(3)' for 0, 1 and 2")
    if count > MOST_RUNS:
        raise ConfigError(f"{text}: {count:.3g} values; expected at most {MOST_RUNS}, name fewer")


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE else f"{text[:MESSAGE]}…"


def with_schema(composed: DictConfig) -> DictConfig:
    """The composed values in the schema's types and with its defaults. Raises ConfigError for unknown keys and wrong types."""
    schemas = RunConfig(
        dataset=schema_of(SCHEMAS, composed, "dataset")(),
        model=schema_of(MODEL_SCHEMAS, composed, "model")(),
        engine=schema_of(ENGINE_SCHEMAS, composed, "engine")(),
    )
    merged = OmegaConf.structured(schemas)
    try:
        strip_healthy(composed)
        return OmegaConf.merge(merged, composed)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, merged)) from error


def update(config: DictConfig, key: str, value: Any) -> None:
    """Set a key to a value of its type. Raises ConfigError."""
    try:
        OmegaConf.update(config, key, value)
        number = isinstance(value, int | float) and value not in (0, 1)
        if number and isinstance(OmegaConf.select(config, key.lstrip("+")), bool):  # which OmegaConf takes for true
            raise ConfigError(
                f"{key}={value}: expected true or false; `anomaly-bench config {key}` tells what it takes"
            )
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, config)) from error


def to_config(config: DictConfig) -> RunConfig:
    """The dataclasses. Raises ConfigError for a value that is missing."""
    try:
        run_config: RunConfig = OmegaConf.to_object(config)  # type: ignore[assignment]
        return run_config
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, config)) from error
