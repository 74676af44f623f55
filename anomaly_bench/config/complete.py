"""What may come next in an override that is being typed. Quick: composes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from data_modules.base.options.folders import groups, options_of

from . import SECTIONS
from .keys import keys


def completions(prefix: str) -> list[str]:
    """All ways to complete `group=option` and `key=value`; after a comma, those of the next value."""
    name, equals, value = prefix.partition("=")
    if equals:
        before, comma, _ = value.rpartition(",")
        values = options_of(name) if name in groups() else _values(name)
        return [f"{name}={before}{comma}{text}" for text in values if text not in before.split(",")]
    section, dot, _ = prefix.partition(".")
    if dot:
        return _typed(section)
    return [*_first(bool(prefix))]


def _first(begun: bool) -> Iterator[str]:
    """The first parts of all names; begun: whether a part is there, so that keys of a section may be of interest."""
    for group in groups():
        yield f"{group}="
        if begun and keys(group):
            yield f"{group}."
    yield from _typed("")
    for section in SECTIONS:
        yield from _typed(section) if begun else [f"{section}."]


def _typed(section: str) -> list[str]:
    """The keys of a section as they are typed, but for those in lists and in mappings, whose names are their user's own."""
    names = dict.fromkeys(key.name for key in keys(section) if not key.has_keys)
    return [f"{name}=" for name in names if not {"N", "NAME"} & {*name.split(".")}]


def _values(name: str) -> list[str]:
    section = name.partition(".")[0] if "." in name else ""
    return [*dict.fromkeys(text for key in keys(section) if key.name == name for text in key.choices)]
