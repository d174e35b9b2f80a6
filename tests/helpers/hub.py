"""A small Hugging Face Hub on loopback: enough of its API for the real client to list and download a repository."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves the repositories in `folders` by name; those in `gated` to nobody; nothing once it is `broken`.

    asked: methods and paths, in order.
    """

    def __init__(self, folders: dict[str, Path], gated: frozenset[str] = frozenset()) -> None:
        self.folders, self.gated = folders, gated
        self.asked: list[str] = []
        self.broken = False
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[Hub]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                hub.asked.append(f"{self.command} {path}")
                parts = path.strip("/").removeprefix("api/models/").split("/")
                name, rest = "/".join(parts[:2]), parts[2:]
                if hub.broken:
                    return self.answer(400, b"{}")
                if name in hub.gated:
                    return self.answer(
                        403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
                    )
                if name not in hub.folders:
                    return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Not found."})
                folder = hub.folders[name]
                files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
                if rest[:1] == ["resolve"]:
                    return self.file(folder / "/".join(rest[2:]))
                if rest[:1] == ["tree"]:
                    entries = [
                        {
                            "type": "file",
                            "path": file,
                            "oid": etag(folder / file),
                            "size": (folder / file).stat().st_size,
                        }
                        for file in files
                    ]
                    return self.answer(200, json.dumps(entries).encode())
                listing = {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "downloads": 0,
                           "likes": 0, "siblings": [{"rfilename": file} for file in files]}  # fmt: skip
                return self.answer(200, json.dumps(listing).encode())

            def file(self, file: Path) -> None:
                if not file.is_file():
                    return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                return self.answer(200, file.read_bytes(), {"ETag": f'"{etag(file)}"', "Accept-Ranges": "bytes"})

            def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(code)
                for key, value in {
                    "X-Repo-Commit": COMMIT,
                    "Content-Length": str(len(body)),
                    **(headers or {}),
                }.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
