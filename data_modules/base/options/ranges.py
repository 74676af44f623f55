"""The ranges that stand beside the keys of a config's dataclasses."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError

from data_modules.base.errors import ConfigError


def check_ranges(config: Any, prefix: str, checked: set[int]) -> None:
    """Of a dataclass and of those in it whose ids are not among the checked ones.

    prefix: of the keys, `dataset.`. Raises ConfigError naming the key, its value and what was expected.
    """
    schema: Any = type(config)
    for group, part in vars(config).items():
        if isinstance(part, str) and not part.strip():
            raise ConfigError(
                f"{prefix}{group}: expected a text, got an empty one; leave the key out, or give it a value"
            )
        if is_dataclass(part) and id(part) not in checked:
            checked.add(id(part))
            check_ranges(part, f"{prefix}{group}.", checked)
    try:
        _adapter(schema).validate_python(vars(config))
    except ValidationError as error:
        problem = error.errors()[0]
        name, *inside = problem["loc"]
        said = re.sub("^(Input should be|List should have)", "expected", problem["msg"]).partition(" after valid")[0]
        expected = _allowed(schema, str(name)) or re.sub("^expected (?=greater|less)", "expected a number ", said)
        in_list = f" in a list, {prefix}{name}=[a,b]" if inside else ""
        raise ConfigError(f"{prefix}{name}={getattr(config, str(name))}: {expected}{in_list}") from error


@cache
def _adapter(schema: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def _allowed(schema: type[Any], key: str) -> str:
    """The whole range of a number, as its annotations say it; empty for what has none."""
    hint = get_type_hints(schema, include_extras=True)[key]
    bounds = {Gt: "greater than {0.gt}", Ge: "no less than {0.ge}", Lt: "less than {0.lt}", Le: "no more than {0.le}"}
    texts = [bounds[type(bound)].format(bound) for bound in getattr(hint, "__metadata__", ()) if type(bound) in bounds]
    return "expected a number " + " and ".join(texts).replace("less than inf", "finite") if texts else ""
