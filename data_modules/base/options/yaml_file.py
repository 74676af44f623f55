"""YAML that users write, looked at before a library unfolds it."""

from __future__ import annotations

from pathlib import Path

import yaml  # type: ignore[import-untyped]

from data_modules.base.regular import regular

LARGEST = 2**20  # bytes
DEEPEST = 50  # lists and mappings in one another
MOST = 100_000  # entries, each as often as an alias names it


def check_yaml(file: Path) -> None:
    """Raises OSError or UnicodeDecodeError for what cannot be read, YAMLError for what is no YAML or unfolds without end."""
    loader = yaml.SafeLoader(regular(file, LARGEST).read_text(encoding="utf-8"))
    loader.name = str(file)
    depth, events = 0, []
    while loader.check_event():
        events.append(loader.get_event())
        depth += isinstance(events[-1], yaml.CollectionStartEvent) - isinstance(events[-1], yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.YAMLError(f"more than {DEEPEST} lists or mappings in one another")
    if not any(isinstance(event, yaml.AliasEvent) for event in events):
        return
    stack, count = [yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)], 0
    while stack:
        node, count = stack.pop(), count + 1
        if count > MOST:
            raise yaml.YAMLError(f"its aliases unfold to more than {MOST} entries")
        if isinstance(node, yaml.MappingNode):
            stack += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += node.value
