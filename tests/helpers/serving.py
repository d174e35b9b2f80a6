"""A real server on loopback for the tests: uvicorn in a thread, a scripted model behind it."""

from __future__ import annotations

import base64
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from PIL import Image

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.core.messages import Request
from ergo.families import QWEN2_5_VL
from ergo.serve.app import Server
from ergo.serve.run import Lifetime, listen
from ergo.serve.settings import Settings


def data_uri(size: tuple[int, int] = (640, 480), colour: str = "navy", kind: str = "JPEG") -> str:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def echo(request: Request) -> str:
    """The first look names a region; the answer repeats the number in the question, so that replies cannot be swapped."""
    text = request.chat[-1].text
    if request.expect == "region":
        return "<think>over there</think><zoom>[28, 28, 140, 112]</zoom>"
    numbers = re.findall(r"#(\d+)", text)
    return f"<think>closely</think><answer>{numbers[-1] if numbers else 'hello'}</answer>"


def scripted(script: Any = echo, seconds: float = 0.0, parallel: bool = True, record: bool = True) -> Model:
    return Model(ScriptedBackend(script, seconds, parallel, record), QWEN2_5_VL, 28, "scripted")


@contextmanager
def serving(opened: Model | Callable[[], Model], settings: Settings | None = None, ready: bool = True) -> Iterator[str]:
    """The server's address while it runs. ready: once its model is open."""
    settings = settings or Settings()
    server = Lifetime(Server((lambda: opened) if isinstance(opened, Model) else opened, settings), settings)
    thread = threading.Thread(target=server.run, args=(listen("127.0.0.1", 0),), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    while ready and httpx.get(f"{address}/health").status_code != 200:
        time.sleep(0.01)
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join()


def chat_body(question: str = "How many? #7", picture: str | None = None, **fields: Any) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": picture or data_uri()}}, {"type": "text", "text": question}]
    return {"messages": [{"role": "user", "content": content}], **fields}
