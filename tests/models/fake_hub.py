"""A small hub on this machine: model info, file listing, files with ranges; gated, absent or in trouble."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """What the server holds and how it behaves; `requests`: what was asked, `sent`: bytes of files."""

    def __init__(self, models: dict[str, dict[str, bytes]]) -> None:
        self.models = models
        self.ranges = True
        self.status = 0  # answer everything with this
        self.hold = threading.Event()  # files wait for it once half of them is sent
        self.hold.set()
        self.requests: list[str] = []
        self.sent = 0
        self.address = ""


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.hold.set()
        server.shutdown()
        server.server_close()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            del args

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.requests.append(f"{self.command} {path}")
            if hub.status:
                self.refuse(hub.status, "")
                return
            parts = path.split("/")
            if parts[:2] == ["api", "models"]:
                self.about("/".join(parts[2:4]), parts[4:])
            elif len(parts) >= 5 and parts[2] == "resolve":
                self.file("/".join(parts[:2]), "/".join(parts[4:]), body=body)
            else:
                self.refuse(404, "RepoNotFound")

        def about(self, model: str, rest: list[str]) -> None:
            if model.startswith("private/") or model not in hub.models:
                self.refuse(401 if model.startswith("private/") else 404, "RepoNotFound")
                return
            if rest[:1] == ["revision"] and rest[1] not in {"main", COMMIT}:
                self.refuse(404, "RevisionNotFound")
                return
            files = hub.models[model]
            if rest[:1] == ["tree"]:
                listed = [
                    {"type": "file", "path": name, "size": len(data), "oid": f"{len(data):040x}"}
                    for name, data in files.items()
                ]
                self.json(listed)
                return
            siblings = [
                {"rfilename": name, "size": len(data), "blobId": f"{len(data):040x}"}
                for name, data in files.items()
            ]
            self.json({"id": model, "modelId": model, "sha": COMMIT, "siblings": siblings, "tags": [],
                       "private": False, "downloads": 0, "cardData": {"license": "mit"}})  # fmt: skip

        def file(self, model: str, name: str, *, body: bool) -> None:
            if model.startswith("gated/"):
                self.refuse(403, "GatedRepo")
                return
            data = hub.models.get(model, {}).get(name)
            if data is None:
                self.refuse(404, "EntryNotFound")
                return
            start, stop = 0, len(data)
            wanted = self.headers.get("Range", "")
            ranged = hub.ranges and wanted.startswith("bytes=")
            if ranged:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, stop = int(first), min(stop, int(last) + 1 if last else stop)
            self.send_response(206 if ranged else 200)
            if ranged:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.send_header("Content-Length", str(stop - start))
            self.send_header("ETag", f'"{abs(hash((name, len(data)))):040x}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            if body:
                self.send_slowly(data[start:stop])

        def send_slowly(self, data: bytes) -> None:
            half = len(data) // 2
            try:
                for place in range(0, len(data), 1 << 16):
                    if place >= half:
                        hub.hold.wait(10)
                    self.wfile.write(data[place : place + (1 << 16)])
                    hub.sent += len(data[place : place + (1 << 16)])
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def json(self, found: Any) -> None:
            data = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
