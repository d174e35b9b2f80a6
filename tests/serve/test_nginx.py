"""A stream through nginx, as deploy/nginx.conf has it: the first byte comes at once, and everything that follows in time."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from serving import chat_body, scripted, serving

from ergo.serve.settings import Settings

SITE = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light")


def test_a_slow_model_streams_through_nginx(tmp_path: Path) -> None:
    with serving(scripted(seconds=3.0), Settings(hosts=("ergo.example.com", "127.0.0.1"))) as address:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        site = (
            SITE.read_text()
            .replace("http://127.0.0.1:8000", address)
            .replace("listen 8080", f"listen 127.0.0.1:{port}")
        )
        config = tmp_path / "nginx.conf"
        temporary = "".join(
            f"{one}_temp_path {tmp_path}/{one}; " for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(
            f"user {getpass.getuser()}; daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {temporary} {site} }}"
        )
        nginx = subprocess.Popen([str(NGINX), "-e", "stderr", "-p", str(tmp_path), "-c", str(config)])
        try:
            host = {"host": "ergo.example.com"}
            deadline = time.monotonic() + 10
            while True:
                try:
                    assert httpx.get(f"http://127.0.0.1:{port}/health", headers=host).status_code == 200
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            for path, body in (
                ("chat/completions", chat_body("#7", stream=True)),
                ("responses", {"input": "What is it? #7", "stream": True}),
            ):
                started = time.perf_counter()
                with httpx.stream(
                    "POST", f"http://127.0.0.1:{port}/v1/{path}", json=body, headers=host, timeout=30
                ) as reply:
                    times = [time.perf_counter() - started for _ in reply.iter_raw()]
                print(f"\n{path}: first byte after {times[0]:.3f} s, last after {times[-1]:.1f} s")
                assert times[0] < 1.0
                assert times[-1] > 2.9
            large = json.dumps(chat_body("#7", "data:image/png;base64," + "A" * 3_000_000))
            refused = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", content=large, headers=host | {"content-type": "application/json"})  # fmt: skip
            assert refused.status_code == 400  # ergo's own word, not nginx's 413
            assert httpx.get(f"http://127.0.0.1:{port}/metrics", headers=host).status_code == 403
        finally:
            nginx.terminate()
            nginx.wait()
