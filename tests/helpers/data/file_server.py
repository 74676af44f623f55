"""A file server for the tests of downloads."""

import contextlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """A file server on this machine that can be told to misbehave; `log` has (method, path, Range or None)."""

    def __init__(self):
        self.files, self.log = {}, []
        self.cut = []  # for each GET in turn: after how many bytes to hang up; None: never
        self.answers = []  # statuses for the next GETs, before any file is served
        self.ranges, self.etag, self.head, self.lengths, self.pause = True, '"v1"', True, True, 0.0
        self.shift = 0  # how far the ranges that are sent lie from those asked for
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                outer.log.append(("HEAD", self.path, None))
                data = outer.files.get(self.path.partition("?")[0])
                self.send_response(200 if outer.head and data is not None else 405)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()

            def do_GET(self):
                outer.serve(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def serve(self, request):
        asked = request.headers.get("Range")
        self.log.append(("GET", request.path, asked))
        data = self.files.get(request.path.partition("?")[0])
        status = self.answers.pop(0) if self.answers else 404 if data is None else 200
        request.close_connection = True
        if status != 200:
            request.send_response(status)
            request.send_header("Content-Length", "0")
            request.send_header("Connection", "close")  # unsaid, whoever asks again at once may find the line dead
            request.end_headers()
            return
        start = 0
        fresh = request.headers.get("If-Range") in (None, self.etag)
        if asked and self.ranges and fresh:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + self.shift
            if start >= len(data):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(data)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            request.send_response(200)
        if self.etag:
            request.send_header("ETag", self.etag)
        if self.lengths:
            request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        end = self.cut.pop(0) if self.cut else None
        time.sleep(self.pause)
        with contextlib.suppress(OSError):
            request.wfile.write(data[start : len(data) if end is None else start + end])

    def url(self, path):
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    @property
    def gets(self):
        return [asked for method, _, asked in self.log if method == "GET"]
