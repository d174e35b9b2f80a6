"""Nothing that a client sends, and nothing that happens to the model, stops the server from answering the next."""

from __future__ import annotations

import base64
import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from faulty import Fault, FaultyServer, cut, hang, reply, trickle
from PIL import Image
from serving import chat_body, data_uri, echo, scripted, serving
from tiny_models import make_backend

from ergo.backends import Model, open_backend
from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Completion, Message, Request, Sampling
from ergo.families import QWEN2_5_VL
from ergo.serve.settings import Limits, Settings

ZOOM = "<zoom>[28, 28, 140, 112]</zoom>"


def post(address: str, body: Any, timeout: float = 30) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    return httpx.post(f"{address}/v1/chat/completions", content=content, headers=headers, timeout=timeout)


def answers(address: str) -> bool:
    return post(address, chat_body("#7")).json()["choices"][0]["message"]["content"] == "7"


# ── odd requests, each followed by a normal one ────────────────────────────────────────────────


def posed(text: str, **fields: Any) -> dict[str, Any]:
    return chat_body(text, **fields)


ODD: list[Any] = [
    posed("half \ud83d of a pair"), posed("\udc00\ud800"), posed("\x00\x01\x1b[31m"), posed("\u2028\u202e"), posed("x" * 31_000),
    posed("{question} %s {0} {"), posed("<answer></answer><zoom>[0,0,0,0]</zoom>"), posed("😀" * 2_000),
    *(posed("x", temperature=value) for value in (1e-40, 1e-300, 5e-324, 2, -0.0, 1e-6)),
    *(posed("x", top_p=value) for value in (1e-300, 1e-9, 1.0)),
    *(posed("x", seed=value) for value in (-(2**63), 2**63 - 1, 0)),
    *(posed("x", max_tokens=value) for value in (1, 10**18)),
    posed("x", stop=["", "\ud83d"]), posed("x", stop=["<"] * 900), posed("x", temperature=1e-40, stream=True),
    posed("x", ergo={"options": ["\ud83d", "", "a" * 900]}), posed("x", ergo={"budget": 1}), posed("x", ergo={"budget": 10**15}),
    posed("x", ergo={"flow": "crop_only", "region": [0, 0, 1, 1]}), posed("x", ergo={"flow": "crop_only", "region": [-5, -5, 10**9, 10**9]}),
    posed("x", model="\ud83d"), {"messages": [{"role": "user", "content": "no picture \ud83d"}]},
    {"messages": [{"role": "system", "content": "\ud83d"}, *posed("x")["messages"]]},
    b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}', b'{"messages": [{"role": "user", "content": "\xff"}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "seed": 1e40}', b'{"messages": ' + b"[" * 20_000, b"\x00", b'"' * 100,
    b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": true}', b'{"a": 1' + b"0" * 5000 + b"}",
    posed("x", picture=data_uri((1, 1))), posed("x", picture=data_uri((1, 3000))), posed("x", picture=data_uri((3000, 1))),
    posed("x", picture="data:image/png;base64,\ud83d"), posed("x", picture="data:image/png;base64," + "%4" * 99),
]  # fmt: skip


@pytest.fixture(scope="module")
def real() -> Iterator[str]:
    """A real network, random and small: what it says is noise, what it does with odd input is not."""
    backend = make_backend("qwen2_5_vl")
    with serving(Model(backend, QWEN2_5_VL, 28, "tiny"), Settings(budget=16, max_tokens=4, look_tokens=4)) as address:
        yield address


def test_odd_requests_hurt_nobody(real: str) -> None:
    assert len(ODD) >= 40
    for odd in ODD:
        found = post(real, odd)
        assert found.status_code in (200, 400, 404), (odd, found.text)
        assert post(real, chat_body("#1")).status_code == 200, odd
    health = httpx.get(f"{real}/health").json()
    assert (health["status"], health["crashes"], health["restarts"]) == ("ready", 0, 0)


def test_an_exception_of_the_model_fails_one_question_and_is_counted() -> None:
    def brittle(request: Request) -> str:
        if "die" in request.chat[-1].text or "die" in request.chat[1].text:
            raise RuntimeError("CUDA error: the sky fell")
        return echo(request)

    for parallel in (True, False):
        with serving(scripted(brittle, seconds=0.05, parallel=parallel)) as address:
            statuses: dict[str, int] = {}

            def ask(text: str, address: str = address, statuses: dict[str, int] = statuses) -> None:
                statuses[text] = post(address, chat_body(text)).status_code

            threads = [threading.Thread(target=ask, args=(text,)) for text in ("#1", "die", "#2", "#3")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert statuses == {"#1": 200, "die": 500, "#2": 200, "#3": 200}
            found = post(address, chat_body("die"))
            assert "RuntimeError: CUDA error: the sky fell" in found.json()["error"]["message"]
            assert httpx.get(f"{address}/health").json()["crashes"] >= 2
            assert "ergo_crashes 0.0" not in httpx.get(f"{address}/metrics").text
            assert answers(address)


# ── what health says ───────────────────────────────────────────────────────────────────────────


def test_health_tells_loading_from_ready_and_questions_meanwhile_are_503() -> None:
    loaded = threading.Event()

    def slowly() -> Model:
        loaded.wait(20)
        return scripted()

    with serving(slowly, ready=False) as address:
        health = httpx.get(f"{address}/health")
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        found = post(address, chat_body())
        assert found.status_code == 503
        assert "not loaded" in found.json()["error"]["message"]
        assert int(found.headers["retry-after"]) > 0
        loaded.set()
        while httpx.get(f"{address}/health").status_code != 200:
            time.sleep(0.05)
        assert answers(address)


def test_an_endpoint_that_is_not_there_yet_is_waited_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"

    def opened() -> Model:
        return open_backend(f"openai:{url}", "qwen2_5_vl", retries=0)

    with serving(opened, ready=False) as address:
        time.sleep(0.5)
        health = httpx.get(f"{address}/health").json()
        assert health["status"] == "loading"
        assert "refused" in health["problem"]
        with FaultyServer(answer=lambda _: reply(f"{ZOOM}<answer>7</answer>"), port=port):
            deadline = time.monotonic() + 15
            while httpx.get(f"{address}/health").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert answers(address)


def upstream(server: FaultyServer) -> Model:
    return open_backend(f"openai:{server.url}", "qwen2_5_vl", served_name="tiny", retries=0)


def test_health_tells_when_the_upstream_dies_and_when_it_is_back() -> None:
    def until(address: str, status: str) -> None:
        deadline = time.monotonic() + 15
        while httpx.get(f"{address}/health").json()["status"] != status:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def seven(_: Any) -> Any:
        return reply(f"{ZOOM}<answer>7</answer>")

    with ExitStack() as stack:
        with FaultyServer(answer=seven) as server:
            settings = Settings(limits=Limits(probe_every=0.2))
            address = stack.enter_context(serving(upstream(server), settings))
            assert answers(address)
        until(address, "upstream down")
        assert "ergo_upstream_down 1.0" in httpx.get(f"{address}/metrics").text
        assert post(address, chat_body()).status_code == 502
        with FaultyServer(answer=seven, port=httpx.URL(server.url).port or 0):
            until(address, "ready")
            assert answers(address)


def test_a_model_that_can_never_be_opened_ends_the_server_with_its_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ergo", "serve", "--model", "hf:/nowhere", "--port", "0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# ── a hung upstream ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", [hang(60), trickle(0.1), cut(60)], ids=["hung", "slow", "half a reply"])
def test_calls_that_do_not_end_end_with_their_deadline_and_give_their_places_back(fault: Fault) -> None:
    with (
        FaultyServer(*[fault] * 4, answer=lambda _: reply(f"{ZOOM}<answer>7</answer>")) as server,
        serving(upstream(server), Settings(limits=Limits(concurrency=4, deadline=1.0))) as address,
    ):
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(post(address, chat_body()).status_code)) for _ in range(4)
        ]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [504] * 4
        assert time.perf_counter() - started < 3
        assert httpx.get(f"{address}/health").json()["in_progress"] == 0
        assert answers(address)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_who_leaves_takes_the_upstream_call_along(stream: bool) -> None:
    closed: list[bytes] = []

    def until_closed(handler: Any) -> None:
        handler.connection.settimeout(20)
        closed.append(handler.connection.recv(1))
        handler.close_connection = True

    with FaultyServer(until_closed) as server, serving(upstream(server)) as address:
        with pytest.raises(httpx.ReadTimeout):
            post(address, chat_body(stream=stream), timeout=0.6)
        deadline = time.monotonic() + 5
        while not closed:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert closed == [b""]
        assert httpx.get(f"{address}/health").json()["in_progress"] == 0


@pytest.mark.slow
def test_five_hundred_clients_of_whom_a_third_leave() -> None:
    with (
        FaultyServer(answer=lambda _: reply(f"{ZOOM}<answer>7</answer>")) as server,
        serving(upstream(server), Settings(limits=Limits(concurrency=40, deadline=20))) as address,
    ):
        outcomes: list[str] = []
        picture = data_uri((64, 64))

        def ask(number: int) -> None:
            outcome = "left"
            try:
                found = post(address, chat_body(picture=picture), timeout=0.05 if number % 3 == 0 else 60)
                outcome = str(found.status_code)
            except httpx.HTTPError as error:
                outcome = "left" if number % 3 == 0 else type(error).__name__
            outcomes.append(outcome)

        for start in range(0, 500, 50):
            threads = [threading.Thread(target=ask, args=(start + number,)) for number in range(50)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        print(f"\n500 clients: {dict(Counter(outcomes))}")
        assert set(outcomes) <= {"200", "429", "left"}
        deadline = time.monotonic() + 10
        while httpx.get(f"{address}/health").json()["in_progress"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert answers(address)


def test_a_client_who_leaves_frees_a_model_in_this_process_between_two_tokens() -> None:
    class Slow(ScriptedBackend):
        """Generates until nobody waits, at most for a minute."""

        wanted: Callable[[Request], bool] = staticmethod(lambda _: True)

        def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
            ends = time.monotonic() + (60 if "slow" in requests[0].chat[-1].text else 0)
            while time.monotonic() < ends and any(map(self.wanted, requests)):
                time.sleep(0.01)
            return super().complete(requests)

    with serving(Model(Slow(echo, parallel=False), QWEN2_5_VL, 28, "slow")) as address:
        with pytest.raises(httpx.ReadTimeout):
            post(address, chat_body("slow"), timeout=0.7)
        started = time.perf_counter()
        assert answers(address)
        assert time.perf_counter() - started < 10


def test_a_real_model_stops_between_two_tokens_once_nobody_waits() -> None:
    backend = make_backend("qwen2_5_vl")
    request = Request((Message("user", ("hello",)),), Sampling(max_tokens=500, temperature=1.0, seed=1))
    asked: list[Request] = []

    def three_times(one: Request) -> bool:
        asked.append(one)
        return len(asked) < 3

    backend.wanted = three_times
    [result] = backend.complete([request])
    assert isinstance(result, Completion)
    assert len(result.token_ids or ()) == len(asked) <= 3
    assert all(one is request for one in asked)


# ── small inputs, large memory ─────────────────────────────────────────────────────────────────


def compressed(kind: str, size: tuple[int, int], **settings: Any) -> str:
    out = io.BytesIO()
    Image.new("L" if kind == "JPEG" else "RGB", size).save(out, kind, **settings)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


@pytest.mark.parametrize(("kind", "size"), [("WEBP", (10_000, 5_000)), ("JPEG2000", (8_000, 5_000))])
def test_a_picture_that_would_take_gigabytes_is_refused_by_its_header(kind: str, size: tuple[int, int]) -> None:
    picture = compressed(kind, size)
    with serving(scripted()) as address:
        started = time.perf_counter()
        found = post(address, chat_body(picture=picture))
        assert found.status_code == 400
        assert "MB to decode" in found.json()["error"]["message"]
        assert time.perf_counter() - started < 3


def test_a_small_picture_does_not_wait_for_large_ones() -> None:
    large, small = compressed("JPEG", (8000, 5000)), data_uri((64, 64))
    done: list[str] = []

    def looking(request: Request) -> str:
        for view in request.views:
            view.pixels  # noqa: B018
        return echo(request)

    with serving(scripted(looking), Settings(limits=Limits(decode=170_000_000))) as address:

        def ask(name: str, picture: str) -> None:
            assert post(address, chat_body(picture=picture), 120).status_code == 200
            done.append(name)

        threads = [threading.Thread(target=ask, args=("large", large)) for _ in range(8)]
        for thread in threads:
            thread.start()
        while httpx.get(f"{address}/health").json()["in_progress"] + len(done) < 8:
            time.sleep(0.01)
        begun = len(done)
        ask("small", small)
        for thread in threads:
            thread.join()
    assert done.index("small") <= begun + 2  # of seven or so that wait


def test_answers_on_a_connection_that_stays_open_are_not_held_back() -> None:
    """Head and body are two writes: the second would wait for the client's delayed acknowledgement, 40 ms."""
    times = []
    with serving(scripted()) as address, httpx.Client(base_url=address) as client:
        for _ in range(20):
            started = time.perf_counter()
            client.get("/health")
            times.append(time.perf_counter() - started)
    assert min(times[1:]) < 0.03


@pytest.mark.parametrize(("count", "words"), [(250_000, "JSON values"), (4_000_000, "beside its pictures")])
def test_many_small_values_are_refused_before_they_are_parsed(count: int, words: str) -> None:
    with serving(scripted()) as address:
        content = b'{"messages":[{"role":"user","content":[' + b'{"type":"a"},' * count + b'{"type":"a"}]}]}'
        worst: list[float] = []
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.02):
                started = time.perf_counter()
                httpx.get(f"{address}/health")
                worst.append(time.perf_counter() - started)

        watcher = threading.Thread(target=watch)
        watcher.start()
        found = post(address, content)
        stop.set()
        watcher.join()
        assert words in found.json()["error"]["message"]
        assert max(worst) < 1.0


def test_bodies_together_are_bounded_before_they_are_read() -> None:
    with serving(scripted(), Settings(limits=Limits(bodies=3_000_000))) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: 2900000\r\n\r\n{"
            )
            time.sleep(0.3)
            found = post(address, b" " * 200_000)
            assert found.status_code == 429
            assert "bytes" in found.json()["error"]["message"]
        time.sleep(0.5)
        assert answers(address)


# ── slow and hostile connections ───────────────────────────────────────────────────────────────


def raw(address: str, sent: bytes, seconds: float = 5) -> bytes:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.settimeout(seconds)
        line.sendall(sent)
        found = b""
        while chunk := line.recv(65536):
            found += chunk
        return found


def test_half_a_head_and_silence_are_closed() -> None:
    with serving(scripted(), Settings(limits=Limits(head_seconds=0.4, idle_seconds=0.4))) as address:
        started = time.perf_counter()
        assert raw(address, b"GET / HTTP/1.1\r\nhost: loc") == b""
        assert raw(address, b"") == b""
        late = raw(address, b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                            b"content-length: 900\r\n\r\n{")  # fmt: skip
        assert late.startswith(b"HTTP/1.1 408")
        assert time.perf_counter() - started < 4
        assert answers(address)


def test_more_connections_than_allowed_are_told_so_and_the_others_go_on() -> None:
    with serving(scripted(), Settings(limits=Limits(connections=20, head_seconds=1))) as address:
        host, port = address.removeprefix("http://").split(":")
        with ExitStack() as stack:
            lines = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(60)]
            time.sleep(0.3)
            lines[-1].settimeout(2)
            assert b"503" in lines[-1].recv(1000)
            time.sleep(1.5)  # the half-open ones are closed meanwhile
            assert answers(address)


def test_a_request_with_two_lengths_is_refused() -> None:
    with serving(scripted()) as address:
        found = raw(
            address,
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
            b"transfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n0\r\n\r\n",
        )
        assert found.startswith(b"HTTP/1.1 400")
        for path in (b"/\x01\x02", b"/" + b"a" * 70_000, b"/%00%ff", b"//\\..\\..", b"/v1/models/" + b"%2e%2e%2f" * 50):
            found = raw(address, b"GET " + path + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert found[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404"), (path[:20], found[:60])
        assert answers(address)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes() -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with serving(scripted(), Settings(limits=Limits(body=1000, idle_seconds=3))) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.settimeout(2)
            line.sendall(head + b"content-length: 1001\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_an_empty_key_lets_nobody_in() -> None:
    for key in ("", "  "):
        with pytest.raises(UsageError, match="empty"):
            Settings(api_key=key)


def test_reserved_addresses_are_not_public() -> None:
    from ergo.serve.fetch import is_public

    for address in (
        "fec0::1",
        "::127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::10.0.0.1",
        "168.63.129.16",
        "64:ff9b:1::1",
        "2001:db8::1",
    ):
        assert not is_public(address), address
    for address in ("93.184.216.34", "2606:4700::1111"):
        assert is_public(address), address


# ── the end ────────────────────────────────────────────────────────────────────────────────────


def test_sigterm_refuses_new_questions_and_finishes_those_in_progress(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(
        f"import sys\nsys.path[:0] = {[str(Path(__file__).parent.parent / 'helpers')]!r}\n"
        "from serving import scripted\nfrom ergo.serve.run import listen, serve\nfrom ergo.serve.settings import Settings\n"
        "serve(lambda: scripted(seconds=1.0), Settings(), listen('127.0.0.1', int(sys.argv[1])))\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, str(script), str(port)])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                if httpx.get(f"{address}/health").status_code == 200:
                    break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        found: list[httpx.Response] = []
        running = threading.Thread(target=lambda: found.append(post(address, chat_body("#5"))))
        running.start()
        time.sleep(0.5)
        process.terminate()
        time.sleep(0.3)
        late = post(address, chat_body())
        assert late.status_code == 503
        assert "stopping" in late.json()["error"]["message"]
        assert httpx.get(f"{address}/health").json()["status"] == "stopping"
        running.join()
        assert found[0].json()["choices"][0]["message"]["content"] == "5"
        assert process.wait(10) in (0, -15)
    finally:
        process.kill()
