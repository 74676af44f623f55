"""How many of something there are, in words."""

import re

PLURAL = re.compile(r"s\b")


def amount(count: int, units: str) -> str:
    """`1 dataset`, `2 datasets`; the first word of `units` that ends in s is the plural."""
    return f"{count} {PLURAL.sub('', units, count=1) if count == 1 else units}"
