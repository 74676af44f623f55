"""Every key of a config for people: what it means, which values it takes, and its default.

A key's meaning is told once: in the docstring of the schema's class that has it, on a line `key: …` (`one, other: …`), or in
the group's YAML, in the comment beside the key or above it. That YAML is `GROUP/KIND.yaml` for a schema of a kind, and else
that of the group's default option. What an option's own YAML says of a key is said of this option alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml  # type: ignore[import-untyped]
from annotated_types import Ge, Gt, Le, Lt, MinLen

from anomaly_bench.base.errors import ConfigError
from data_modules.base.options.folders import config_dir, config_dirs
from data_modules.base.options.yaml_file import check_yaml

from . import SECTIONS
from .schema import HUGE, KINDS, RunConfig

REQUIRED = "???"  # as OmegaConf spells a value that has to be given
NAMES = {int: "integer", float: "number", bool: "true or false", str: "text", Any: "anything", dict: "mapping"}
SIGNS = {Gt: "> {0.gt}", Ge: "≥ {0.ge}", Lt: "< {0.lt}", Le: "≤ {0.le}", MinLen: "({0.min_length} or more)"}


@dataclass(frozen=True)
class Key:
    """One key of a config.

    name: as it is overridden, `model.beta`; kinds: of its group, those that have it (empty where there are none);
    takes: type and range; choices: the values it takes, where they are few; meaning: empty if nothing tells it.
    """

    name: str
    kinds: tuple[str, ...]
    takes: str
    default: Any
    meaning: str = ""
    choices: tuple[str, ...] = ()

    @property
    def has_keys(self) -> bool:
        """Whether it holds other keys, which are listed below it, and no value."""
        return self.takes.startswith("keys ")


def keys(group: str = "") -> list[Key]:
    """The keys of a group (also of SECTIONS, which have no options); without one, those that are in no group.

    A key that some kind has with a default of its own is listed again for it.
    """
    known: dict[type[Any], str] = {}
    if group in KINDS:
        return [key for schema, kinds in _classes(group) for key in _of_class(schema, group, kinds, known)]
    schema = _schema_of(get_type_hints(RunConfig).get(group)) if group else RunConfig
    return [*_of_class(schema, group, (), known)] if schema else []


@dataclass(frozen=True)
class Written:
    """A YAML file: what it says of itself, its values and the comments on its keys, by their dotted names."""

    about: str
    values: Mapping[str, Any]
    comments: Mapping[str, str]


@cache
def written(path: Path) -> Written:
    """What a file of configs has written in it. Raises ConfigError naming the file if it is no YAML."""
    try:
        check_yaml(path)
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: is no YAML ({' '.join(str(error).split())}); correct it") from error
    lines = text.splitlines()
    values: dict[str, Any] = {}
    comments: dict[str, str] = {}
    head = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    about = " ".join(line.lstrip("# ") for line in lines[:head] if not line.startswith("# @package"))
    for name, key, value in _nodes(root) if isinstance(root, yaml.MappingNode) else ():
        values[name] = _value(text[value.start_mark.index : value.end_mark.index]) if _short(value) else None
        end = value.end_mark if _short(value) else key.end_mark
        beside = re.fullmatch(r"[:\s]*#\s*(.*)", lines[end.line][end.column :])
        above: list[str] = []
        for line in reversed(lines[head : key.start_mark.line]):
            if not re.match(rf" {{{key.start_mark.column}}}#", line):
                break
            above.insert(0, line.strip("# "))
        comments[name] = beside.group(1) if beside else " ".join(above)
    return Written(about, values, {name: comment for name, comment in comments.items() if comment})


def told(group: str, kind: str) -> Written:
    """The shipped YAML that tells what a group's keys mean: of a kind, or of the group's default option."""
    if group in ("", *SECTIONS):
        return written(config_dir() / "config.yaml")
    path = config_dir() / group / f"{kind or _default_options()[group]}.yaml"
    return written(path) if path.is_file() and group != "dataset" else Written("", {}, {})


def option_file(group: str, option: str) -> Path:
    """The YAML of an option, shipped or the user's."""
    return next(path for folder in config_dirs() if (path := folder / group / f"{option}.yaml").is_file())


def chosen(path: Path) -> dict[str, str]:
    """The options of other groups that a file's list of defaults chooses."""
    document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    entries = [entry for entry in document.get("defaults", ()) if isinstance(entry, dict)]
    return {name.rpartition("/")[2]: option for entry in entries for name, option in entry.items()}


@cache
def _default_options() -> dict[str, str]:
    return chosen(config_dir() / "config.yaml")


def _classes(group: str) -> Iterator[tuple[type[Any], tuple[str, ...]]]:
    """The schemas of a group from the base on, each with the kinds that have its keys."""
    bases = {base: None for schema in KINDS[group].values() for base in reversed(schema.__mro__) if is_dataclass(base)}
    for base in bases:
        kinds = tuple(kind for kind, schema in KINDS[group].items() if issubclass(schema, base))
        yield base, kinds


def _of_class(schema: type[Any], prefix: str, kinds: tuple[str, ...], known: dict[type[Any], str]) -> Iterator[Key]:
    """The keys that a class adds to its bases, or changes, and those below them.

    known: under which key the classes below were listed, once each.
    """
    hints, meant, group = get_type_hints(schema, include_extras=True), meanings(schema), prefix.partition(".")[0]
    said = told(group, next((kind for kind, found in KINDS.get(group, {}).items() if found is schema), ""))
    for item in fields(schema):
        hint, name = hints[item.name], f"{prefix}.{item.name}".lstrip(".")
        below, many = _schema_of(hint), {dict: ".NAME", list: ".N"}.get(get_origin(hint) or hint, "")
        if item.name not in schema.__annotations__ or (below and not prefix):
            continue
        place = name if group in ("", *SECTIONS) else name.partition(".")[2]
        meaning, default = meant.get(item.name) or said.comments.get(place, ""), said.values.get(place, _default(item))
        if below is None:
            choices = tuple(KINDS[group]) if item.name == "kind" else _choices(hint, meaning)
            yield Key(name, kinds, _takes(hint), default, meaning, choices)
        elif below in known:
            yield Key(name, kinds, f"keys as {known[below]}", default, meaning)
        else:
            known[below] = name
            yield Key(name, kinds, "keys of its own", default, meaning)
            yield from _of_class(below, name + many, kinds, known)


def meanings(schema: type[Any]) -> dict[str, str]:
    """What a class's docstring says of its keys, on lines `key: …`, which go on where they are indented."""
    found: dict[str, str] = {}
    joined = re.sub(r"\n +", " ", cleandoc(schema.__doc__ or ""))
    for names, text in re.findall(r"^(\w+(?:, \w+)*): (.*)$", joined, re.MULTILINE):
        found.update(dict.fromkeys(names.split(", "), text))
    return found


def _nodes(mapping: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key, value in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        yield prefix + key.value, key, value
        if isinstance(value, yaml.MappingNode):
            yield from _nodes(value, f"{prefix}{key.value}.")


def _value(text: str) -> Any:
    """The text itself where it means nothing alone: an alias, a tag, a day that no month has."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def _short(value: Any) -> bool:
    """Whether a value ends where its text does: not a block of lines below its key."""
    return value.style not in ("|", ">") if isinstance(value, yaml.ScalarNode) else bool(value.flow_style)


def _schema_of(hint: Any) -> type[Any] | None:
    """The dataclass that a key holds, or may hold, or holds several of."""
    return next((part for part in (hint, *get_args(hint)) if is_dataclass(part) and isinstance(part, type)), None)


def _default(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        value = item.default_factory()
        return None if is_dataclass(value) else value
    return item.default


def _takes(hint: Any) -> str:
    """Type and range in words: `integer ≥ 1 or null`."""
    if get_origin(hint) is Annotated:
        base, *bounds = get_args(hint)
        signs = [SIGNS[type(bound)].format(bound) for bound in bounds if type(bound) in SIGNS and bound != HUGE]
        return f"{_takes(base)} {', '.join(signs)}".replace("< inf", "finite")
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_takes(part) for part in get_args(hint))
    if hint is NoneType:
        return "null"
    origin, inside = get_origin(hint), get_args(hint)
    if origin is list:
        return "list of " + re.sub("^(integer|number)", r"\1s", _takes(inside[0]))
    return NAMES.get(origin or hint, str(hint))


def _choices(hint: Any, meaning: str) -> tuple[str, ...]:
    """The values of a switch; of others those that a meaning lists, `one (why) | other`."""
    if hint is bool:
        return ("true", "false")
    listed = re.sub(r"\([^)]*\)", "", meaning.partition(";")[0]).split(" | ")
    return tuple(text.strip() for text in listed if re.fullmatch(r"\s*[\w-]+\s*", text)) if len(listed) > 1 else ()
