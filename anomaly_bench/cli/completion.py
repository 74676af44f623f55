"""The verb `completion`, and the answers that the Tab key gets."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

ABOUT = "print the code that lets your shell complete verbs, options, datasets, config keys and folders of runs"
EXAMPLE = """bash

put this line into ~/.bashrc (with zsh the same, with zsh in it, into ~/.zshrc):
  eval "$(anomaly-bench completion bash)"
with fish, once:
  anomaly-bench completion fish > ~/.config/fish/completions/anomaly-bench.fish"""
SHELLS = ("bash", "zsh", "fish")
ASKED = "_ARGCOMPLETE"  # the variable by which the shell asks for completions in place of a verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that you use")


def call(options: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["anomaly-bench"], shell=options.shell))
    return 0


def answer(parser: argparse.ArgumentParser) -> None:
    """Give the shell what it asks for and end, without a word if there is nothing to say; return if it asks for nothing."""
    if ASKED not in os.environ:
        return
    import argcomplete

    def parse(words: Sequence[str], namespace: argparse.Namespace) -> tuple[argparse.Namespace, list[str]]:
        """Without the overrides before, behind which and an option argparse would expect no others."""
        others = [word for word in words if "=" not in word or word.startswith("-")]
        return type(parser).parse_known_args(parser, others, namespace)

    parser.parse_known_args = parse  # type: ignore[method-assign,assignment]
    try:
        argcomplete.autocomplete(parser, always_complete_options=False)
    except Exception:  # a traceback in the middle of the line that somebody types helps nobody
        os._exit(1)
