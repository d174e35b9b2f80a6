"""A web server on loopback that answers range requests and counts what it sends, as an object store would."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Sent:
    """What a server sent. knows_ranges: otherwise each request is answered by the whole file."""

    folder: Path
    knows_ranges: bool = True
    bytes: int = 0
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def ranges_served(folder: Path, knows_ranges: bool = True) -> Iterator[tuple[str, Sent]]:
    """The address of the folder, and what was sent of it so far."""
    sent = Sent(folder, knows_ranges)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

        def _answer(self, with_body: bool) -> None:
            path = sent.folder / self.path.lstrip("/").split("?")[0]
            if not path.is_file():
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            size = path.stat().st_size
            start, end = 0, size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
            partial = bool(asked and sent.knows_ranges)
            if asked and partial:
                start, end = int(asked[1]), min(int(asked[2] or size - 1) + 1, size)
            self.send_response(206 if partial else 200)
            if sent.knows_ranges:
                self.send_header("accept-ranges", "bytes")
            if partial:
                self.send_header("content-range", f"bytes {start}-{end - 1}/{size}")
            self.send_header("content-length", str(end - start))
            self.end_headers()
            with sent.lock:
                sent.requests.append(f"{self.command} {start}-{end}")
            if with_body:
                with path.open("rb") as file, suppress(ConnectionError):  # a client may have seen enough
                    file.seek(start)
                    while start < end:
                        part = file.read(min(end - start, 1 << 16))
                        self.wfile.write(part)
                        start += len(part)
                        with sent.lock:
                            sent.bytes += len(part)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
