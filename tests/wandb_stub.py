"""What stands in for W&B in tests: a reader of offline run files, and a server on this machine that does not serve."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@cache
def inspected(path: Path, *options: str) -> str:
    """What W&B's own reader says of the file of a run that is over."""
    wandb = Path(sys.executable).parent / "wandb"
    command = [wandb, "leet", "inspect", "--json", *options, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind in a run file, in order."""
    lines = map(json.loads, inspected(path).splitlines())
    return [line[kind] for line in lines if line["type"] == kind]


def history(path: Path) -> list[dict[str, Any]]:
    return [record["item"] for record in records(path, "history")]


def summary(path: Path) -> dict[str, Any]:
    return json.loads(inspected(path, "--summary"))


@contextmanager
def server(answer: int | None) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers everything with a status, or with None never; and the paths it was asked."""
    asked: list[str] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            if answer is None:
                over.wait(30)
                return
            self.send_response(answer)
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_CONNECT = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    stub = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.daemon_threads = True
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{stub.server_address[1]}", asked
    finally:
        over.set()
        stub.shutdown()
        stub.server_close()
