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


class Backend:
    """What a server of W&B's remembers, as far as a run asks: its history, its uploads, and whether it still lives.

    answer: the status of every reply once it is dead; None: it never replies; 0: it closes the connection.
    """

    def __init__(self, answer: int | None) -> None:
        self.answer, self.dead = answer, threading.Event()
        self.over = threading.Event()
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.address = ""
        self.history: dict[int, dict[str, Any]] = {}
        self.summary = "{}"

    def reply(self, path: str, body: bytes) -> dict[str, Any]:
        """The answer to a request while the server lives."""
        if path.endswith("file_stream"):
            files = json.loads(body).get("files", {})
            if lines := files.get("wandb-history.jsonl"):
                self.history |= enumerate(map(json.loads, lines["content"]), start=lines["offset"])
            if lines := files.get("wandb-summary.json"):
                self.summary = lines["content"][-1]
        if path != "/graphql":
            return {}
        asked = json.loads(body)
        variables = asked.get("variables") or {}
        known = {"id": "1", "name": variables.get("name"), "displayName": "name", "config": "{}"}
        project = {"id": "1", "name": "project", "entity": {"id": "1", "name": "entity"}}
        lines = len(self.history)
        if "RunResumeStatus" in asked["query"]:
            tail = json.dumps([json.dumps(self.history[lines - 1])] if lines else [])
            counts = {"logLineCount": 0, "historyLineCount": lines, "eventsLineCount": 0}
            found = known | counts | {"summaryMetrics": self.summary, "historyTail": tail, "eventsTail": "[]"}
            bucket = found | {"tags": [], "notes": None, "wandbConfig": '{"t": 1}'} if lines else None
            return {"data": {"model": project | {"bucket": bucket}}}
        if "UpsertBucket" in asked["query"]:
            bucket = known | {"project": project, "historyLineCount": lines}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": not lines}}}
        if "CreateRunFiles" in asked["query"]:
            files = [{"name": name, "uploadUrl": f"{self.address}/files/{name}"} for name in variables["files"]]
            return {"data": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}}
        return {"data": {}}


@contextmanager
def backend(answer: int | None = 500, *, dead: bool = False) -> Iterator[Backend]:
    """A server on this machine that serves runs until it is dead."""
    state = Backend(answer)
    if dead:
        state.dead.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.asked.append(self.path)
            state.bodies.append(body)
            status, content = 200, {}
            if state.dead.is_set():
                if state.answer is None:
                    state.over.wait(60)
                if not state.answer:
                    self.close_connection = True
                    return
                status = state.answer
            else:
                content = state.reply(self.path, body)
            self.send_response(status)
            written = json.dumps(content).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_PUT = do_CONNECT = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Nothing on the terminal when a client has gone."""

    stub = Server(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{stub.server_address[1]}"
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        state.over.set()
        stub.shutdown()
        stub.server_close()


@contextmanager
def server(answer: int | None) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers everything with a status, or with None never; and the paths it was asked."""
    with backend(answer, dead=True) as state:
        yield state.address, state.asked
