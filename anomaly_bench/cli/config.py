"""The verb `config`: what every key means, which values it takes and its default."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config import SECTIONS
from data_modules.base.errors import did_you_mean
from data_modules.base.options.folders import groups, options_of

from .arguments import add_config_dir
from .completers import by_tab, told_keys

if TYPE_CHECKING:
    from rich.console import Console

    from anomaly_bench.config.keys import Key

ABOUT = "what every key of a config means, which values it takes and its default"
EXAMPLE = """trainer.patience

`config` alone lists the groups with their options, `config model` the keys of a
group, `config model=beta_vae` the values that an option has"""
SHORT = 60  # characters of a value in a table


@dataclass(frozen=True)
class Row:
    """A value that an option has."""

    name: str
    value: Any
    meaning: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = f"a group ({', '.join(groups())}; {', '.join(SECTIONS)} too), GROUP=OPTION or a key; default: all groups"
    by_tab(parser.add_argument("what", nargs="?", metavar="WHAT", help=text), told_keys)
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    add_config_dir(parser)


def call(options: argparse.Namespace) -> int:
    what = options.what or ""
    group, equals, option = what.partition("=")
    if equals:
        _tell_option(group, option, options.json)
    elif what:
        _tell_keys(what, options.json)
    else:
        _tell_groups(options.json)
    return 0


def _tell_groups(as_json: bool) -> None:
    from rich.console import Console

    from anomaly_bench.config.keys import keys

    found = {group: _abouts(group) for group in groups()}
    own = [*keys(), *(key for section in SECTIONS for key in keys(section))]
    if as_json:
        _print_json({"groups": found, "keys": [*map(_record, own)]})
        return
    console = Console(highlight=False)
    for group, of_group in found.items():
        _print_options(console, group, of_group)
    console.print("[bold]in no group[/bold]")
    _print_keys(console, own)
    console.print("\n`anomaly-bench config GROUP` prints its keys, `config GROUP=OPTION` the values of an option")


def _abouts(group: str) -> dict[str, str]:
    """What the YAML of each option of a group says of itself."""
    from anomaly_bench.config.keys import option_file, written

    return {name: written(option_file(group, name)).about for name in options_of(group)}


def _print_options(console: Console, group: str, abouts: Mapping[str, str]) -> None:
    console.print(f"[bold]{group}=[/bold]")
    _print_rows(console, [(f"  {name}", _first_sentence(about)) for name, about in abouts.items()])


def _tell_keys(what: str, as_json: bool) -> None:
    """Of a group, of what is below a key, or of one key."""
    from rich.console import Console

    from anomaly_bench.config.keys import keys

    found = keys(what)
    if what not in (*groups(), *SECTIONS):
        group = what.partition(".")[0] if "." in what else ""
        found = [key for key in keys(group) if f"{key.name}.".startswith(f"{what}.")]
    if not found and what not in groups():
        known = [*groups(), *SECTIONS, *(key.name for group in ("", *SECTIONS, *groups()) for key in keys(group))]
        raise ConfigError(
            f"{what}: no such group or key; {did_you_mean(what, known, '`anomaly-bench config` lists them')}"
        )
    if as_json:
        _print_json([*map(_record, found)])
        return
    console = Console(highlight=False)
    if {key.name for key in found} == {what}:
        _print_key(console, found)
        return
    if what in groups():
        _print_options(console, what, _abouts(what))
    for kinds, part in groupby(found, lambda key: key.kinds):
        if what in groups():
            console.print(f"\n[bold]with kind {' or '.join(kinds)}[/bold]" if kinds else "")
        _print_keys(console, [*part])


def _tell_option(group: str, option: str, as_json: bool) -> None:
    from rich.console import Console

    from anomaly_bench.config.keys import option_file, written
    from data_modules.base.options.messages import no_such_option

    if group not in groups():
        raise ConfigError(f"{group}={option}: no such group; {did_you_mean(group, groups())}")
    if option not in options_of(group):
        raise ConfigError(no_such_option(group, option, f"{group}={option}"))
    file = option_file(group, option)
    about, rows = written(file).about, [*_values(group, option)]
    if as_json:
        values = [*map(asdict, rows)]
        _print_json({"option": f"{group}={option}", "file": str(file), "about": about, "values": values})
        return
    console = Console(highlight=False)
    console.print(f"[bold]{group}={option}[/bold]  {file}", soft_wrap=True)
    console.print(f"{about}\n", markup=False)
    _print_rows(console, [(f"{row.name}={_short(row.value)}", row.meaning) for row in rows])


def _values(group: str, option: str) -> Iterator[Row]:
    """The values that a run with an option has; of an experiment those that it sets."""
    from omegaconf import OmegaConf

    from anomaly_bench.config.compose import compose_groups, with_schema
    from anomaly_bench.config.keys import chosen, keys, option_file, written

    file = option_file(group, option)
    own = written(file)
    if not keys(group):
        yield from (Row(name, value, "") for name, value in chosen(file).items())
        known = {key.name: key.meaning for part in ("", *SECTIONS, *groups()) for key in keys(part)}
        for name, value in own.values.items():
            if value is not None:
                yield Row(name, value, own.comments.get(name) or known.get(name.removeprefix("sweep."), ""))
        return
    composed: Any = OmegaConf.to_container(with_schema(compose_groups([f"{group}={option}"])))
    kind = composed[group].get("kind")
    for key in {key.name: key for key in keys(group) if not key.kinds or kind in key.kinds}.values():
        *above, last = key.name.split(".")
        node = composed
        for name in above:
            node = node.get(name) or {}
        if last not in node or (key.has_keys and key.default is None):
            continue
        place = key.name.partition(".")[2]
        yield Row(key.name, node[last], own.comments.get(place) or key.meaning)
        for name, value in node[last].items() if isinstance(node[last], dict) else ():
            yield Row(f"{key.name}.{name}", value, own.comments.get(f"{place}.{name}", ""))


def _print_key(console: Console, found: Sequence[Key]) -> None:
    """One key in full; several of a name where kinds have it with defaults of their own."""
    from anomaly_bench.config.keys import REQUIRED, option_file, written

    for key in found:
        group, _, place = key.name.partition(".")
        console.print(f"[bold]{key.name}[/bold]")
        rows = [("takes", _takes(key)), ("default", "" if key.default == REQUIRED else _text(key.default))]
        rows += [("one of", ", ".join(key.choices)), ("of kind", ", ".join(key.kinds))]
        others: dict[str, list[str]] = {}
        for option in options_of(group) if group in groups() and place != "kind" else ():
            values = written(option_file(group, option)).values
            if values.get(place, key.default) != key.default:
                others.setdefault(_text(values[place]), []).append(option)
        rows.append(("else", "; ".join(f"{value} with {group}={','.join(names)}" for value, names in others.items())))
        shown = [(f"  {name}", text) for name, text in rows if text]
        _print_rows(console, [("", key.meaning), *shown])


def _print_keys(console: Console, found: Sequence[Key]) -> None:
    """A key with its default, below it what it takes, beside both what it means."""
    from anomaly_bench.config.keys import REQUIRED

    rows = []
    for key in found:
        default = "" if key.has_keys or key.default == REQUIRED else f"={_short(key.default)}"
        rows.append((f"{key.name}{default}\n  {_takes(key)}", key.meaning))
    _print_rows(console, rows)


def _print_rows(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Two columns as wide as the terminal together, the first at most half of it, unless there is no second."""
    from rich.table import Table
    from rich.text import Text

    width = max((len(line) for left, right in rows if right for line in left.splitlines()), default=0)
    for of_two, part in groupby(rows, lambda row: bool(row[1])):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(width=min(width, console.width // 2) if of_two else None, overflow="fold")
        table.add_column(overflow="fold")
        for left, right in part:
            table.add_row(Text(left), Text(right))
        console.print(table)


def _takes(key: Key) -> str:
    from anomaly_bench.config.keys import REQUIRED

    return f"{key.takes}, required" if key.default == REQUIRED else key.takes


def _first_sentence(text: str) -> str:
    return re.split(r"(?<!\bal)\. ", text, maxsplit=1)[0].rstrip(".")


def _short(value: Any) -> str:
    """A value in a line or two: of what holds more, the names alone, and of a text its beginning."""
    text = _text(value)
    if len(text) > SHORT:
        return f"{{{', '.join(value)}}}" if isinstance(value, dict) else f"{text[:SHORT]}…"
    return text


def _text(value: Any) -> str:
    """A value as it is written in an override."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")


def _record(key: Key) -> dict[str, Any]:
    from anomaly_bench.config.keys import REQUIRED

    required = key.default == REQUIRED
    return asdict(key) | {"default": None if required else key.default, "required": required}


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=1))
