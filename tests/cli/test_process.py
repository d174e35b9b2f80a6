"""The command as a shell runs it: exit status, Ctrl-C, closed pipes, stdin, the environment, what stands on stderr."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from faulty import Fault, FaultyServer, delta, hang, reply, says, status, stream
from interrupting import started
from PIL import Image

SRC = Path(__file__).resolve().parents[2] / "src"
ERGO = [sys.executable, "-m", "ergo"]
SCRIPTED = "scripted:<zoom>[0, 0, 20, 20]</zoom><answer>B</answer>"
KEYS = ("ERGO_MODEL", "ERGO_API_KEY", "OPENAI_API_KEY", "ERGO_SERVER_KEY", "NO_COLOR")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in KEYS}
    return kept | {"PYTHONPATH": str(SRC)} | more


def ergo(*words: object, stdin: str | bytes = b"", **more: str) -> subprocess.CompletedProcess[str]:
    typed = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([*ERGO, *map(str, words)], input=typed, capture_output=True, env=environment(**more))
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def served(*faults: Fault) -> FaultyServer:
    return FaultyServer(*faults, models={"data": [{"id": "Qwen/Qwen2.5-VL-7B-Instruct", "owned_by": "vllm"}]})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.new("RGB", (90, 60), "green").save(path)
    return path


@pytest.fixture
def samples(tmp_path: Path, picture: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("id,picture,question,answer\n" + "".join(f"{n},{picture},q{n}?,yes\n" for n in range(3)))
    return path


# ── exit status ────────────────────────────────────────────────────────────────────────────────


def verbs(picture: Path, samples: Path, tmp_path: Path) -> dict[str, list[object]]:
    bench = ["bench", "--rounds", 2, "--megapixels", 0.1, "--direct", 16, "--budget", 16, "--concurrency", 1]
    return {
        "ask": ["ask", picture, "Which?"],
        "ask several": ["ask", picture, picture, "Which?"],
        "eval": ["eval", samples, "--out", tmp_path / "run", "--budget", 16],
        "batch": ["batch", picture, tmp_path / "out", "--question", "Which?"],
        "bench": [*bench, "--output-tokens", 1, 1, "--direct-output-tokens", 1],
    }


@pytest.mark.parametrize("verb", ["ask", "ask several", "eval", "batch", "bench"])
def test_status_is_0_when_all_was_answered_and_1_when_some_failed(
    verb: str, picture: Path, samples: Path, tmp_path: Path
) -> None:
    words = verbs(picture, samples, tmp_path)[verb]
    warm = [says(reply("yes"))] * 3 if verb == "bench" else []
    with served(*warm, status(404)) as server:
        model = ("--model", f"openai:{server.url}", "--retries", 0)
        failed = ergo(*words, *model)
        assert failed.returncode == 1, failed
        again = ergo(*words, *model, *(["--retry-failed"] if verb == "batch" else []))
        assert again.returncode == 0, again
    assert "Traceback" not in failed.stderr + again.stderr


@pytest.mark.parametrize("verb", ["ask", "eval", "batch", "bench"])  # serve waits until it is
def test_a_server_that_is_not_there_is_one_line_and_status_1(
    verb: str, picture: Path, samples: Path, tmp_path: Path
) -> None:
    words = verbs(picture, samples, tmp_path)[verb]
    done = ergo(*words, "--model", "openai:http://127.0.0.1:9", "--retries", 0)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "127.0.0.1:9" in done.stderr


def test_the_version_is_printed() -> None:
    done = ergo("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ergo ")


# ── stopped ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("verb", ["ask", "ask several", "eval", "batch", "bench"])
def test_ctrl_c_ends_a_verb_at_once_though_its_requests_are_out(
    verb: str, picture: Path, samples: Path, tmp_path: Path
) -> None:
    words = verbs(picture, samples, tmp_path)[verb]
    with served(*[hang(60)] * 9) as server:
        command = [*ERGO, *map(str, words), "--model", f"openai:{server.url}"]
        process = started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        until(lambda: bool(server.payloads) or process.poll() is not None)
        stopped = time.perf_counter()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error.decode().splitlines()[-1] == "ergo: stopped"
    assert b"Traceback" not in error
    assert time.perf_counter() - stopped < 5


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_a_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*ERGO, "serve", "--model", SCRIPTED, "--port", str(port)]
    process = started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0 or process.poll() is not None

    until(listens)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"http://127.0.0.1:{port}/v1" in out.decode()
    assert error.decode() == "ergo: stopped\n"


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = ergo("serve", "--model", SCRIPTED, "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert done.stdout == ""  # no address where nobody listens
    assert done.stderr.startswith("ergo: cannot listen at 127.0.0.1:")
    assert "address already in use" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["ask", "eval", "bench", "probe"])
def test_a_concurrency_of_nothing_is_named_as_it_was_typed(verb: str, tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text('{"image": "a.jpg", "question": "?", "answer": "A", "options": ["a", "b"]}\n')
    picture = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48)).save(picture)
    words = {"ask": [picture, "What is it?"], "eval": [samples]}.get(verb, [])
    done = ergo(verb, *words, "--concurrency", 0, "--model", SCRIPTED)
    assert done.returncode == 2
    assert "--concurrency" in done.stderr
    assert "batch_size" not in done.stderr


def until(true: Any) -> None:
    started = time.perf_counter()
    while not true():
        assert time.perf_counter() - started < 60
        time.sleep(0.02)


@pytest.mark.parametrize(
    "words", [["--help"], ["recipes"], ["ask", "PICTURE", "q", "--model", SCRIPTED], ["completion", "bash"]]
)
def test_a_reader_that_has_gone_is_no_traceback(words: list[str], picture: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [str(picture) if word == "PICTURE" else word for word in words]
    done = subprocess.run([*ERGO, *words], stdout=writer, stderr=subprocess.PIPE, env=environment())
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == (0 if words == ["--help"] else 130)  # argparse lets help go unread


# ── what goes in, and what comes out ───────────────────────────────────────────────────────────


def test_a_question_or_a_picture_may_come_from_stdin(picture: Path) -> None:
    question = "What is it?\nA café, or a 船?\n"
    typed = ergo("ask", picture, "-", "--model", SCRIPTED, "--json", stdin="\ufeff" + question, LC_ALL="C")
    assert json.loads(typed.stdout)["question"] == question.strip()
    shown = ergo("ask", "-", "What is it?", "--model", SCRIPTED, "--json", stdin=picture.read_bytes())
    row = json.loads(shown.stdout)
    assert row["turns"][0]["views"][0]["source"] == [90, 60]
    assert row["picture"] == "stdin"
    garbled = ergo("ask", picture, "-", "--model", SCRIPTED, "--json", stdin=b"caf\xe9?")
    assert json.loads(garbled.stdout)["question"] == "caf\ufffd?"
    nothing = ergo("ask", picture, "-", "--model", SCRIPTED)
    assert (nothing.returncode, nothing.stderr) == (2, "ergo: the question is empty\n")


@pytest.fixture(scope="module")
def tiny() -> subprocess.CompletedProcess[str]:
    return ergo("ask", "plate.jpg", "Which plate does the rocket have?", "--budget", "64")


def test_nothing_but_the_answer_is_printed(tiny: subprocess.CompletedProcess[str]) -> None:
    """No bars of weights being loaded, no warnings of libraries."""
    assert (tiny.returncode, tiny.stderr) == (0, "")
    assert tiny.stdout.startswith("answer ")


@pytest.mark.skipif(os.name == "nt", reason="no pseudo terminals")
@pytest.mark.parametrize(
    "words", [["--help"], ["ask", "PICTURE", "q", "--model", SCRIPTED], ["ask", "--help"], ["nothing"]]
)
def test_no_color_is_heeded_on_a_terminal(words: list[str], picture: Path) -> None:
    import pty

    words = [str(picture) if word == "PICTURE" else word for word in words]
    master, terminal = pty.openpty()
    process = subprocess.Popen([*ERGO, *words], stdout=terminal, stderr=terminal, env=environment(NO_COLOR="1"))
    os.close(terminal)
    printed = b""
    while chunk := read(master):
        printed += chunk
    process.wait()
    assert printed
    assert b"\x1b" not in printed


def read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # how Linux says that the other side has closed
        return b""


# ── the environment and the flags of a server ──────────────────────────────────────────────────


def test_the_environment_names_the_model_and_holds_the_key(picture: Path) -> None:
    with served() as server:
        model = f"openai:{server.url}"
        for more, key in (
            ({"ERGO_API_KEY": "first", "OPENAI_API_KEY": "second"}, "Bearer first"),
            ({"OPENAI_API_KEY": "second"}, "Bearer second"),
            ({}, None),
        ):
            done = ergo("ask", picture, "Which?", ERGO_MODEL=model, **more)
            assert (done.returncode, done.stderr) == (0, "")
            assert server.headers[-1].get("Authorization") == key
        asked = len(server.payloads)
        flag = ergo("ask", picture, "Which?", "--api-key", "third", ERGO_MODEL=model, ERGO_API_KEY="first")
        assert "ERGO_API_KEY" in flag.stderr
        assert "third" not in flag.stderr + flag.stdout
        assert server.headers[-1]["Authorization"] == "Bearer third"
        assert len(server.payloads) == asked + 2
        assert ergo("ask", picture, "Which?", "--model", SCRIPTED, ERGO_MODEL=model).returncode == 0
        assert len(server.payloads) == asked + 2  # the flag wins


def test_the_settings_of_a_server_reach_it(picture: Path) -> None:
    said = [delta(content="<answer>B</answer>"), delta("stop"), "data: [DONE]"]
    with served(status(503), stream(*said), stream(*said)) as server:
        done = ergo(
            "ask", picture, "Which?", "--model", f"openai:{server.url}", "--served-name", "large", "--family", "qwen3_vl", "--stream",
            "--extra-body", '{"top_k": 7}', "--retries", 1, "--pause", 0.01, "--image-format", "webp",
            "--max-tokens", 9, "--temperature", 0.5, "--seed", 3,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    assert len(server.payloads) == 3
    for payload in server.payloads:
        wanted = {"model": "large", "stream": True, "top_k": 7, "max_tokens": 9, "temperature": 0.5, "seed": 3}
        assert {name: payload[name] for name in wanted} == wanted
        assert "data:image/webp;base64," in json.dumps(payload)


def test_a_timeout_is_kept(picture: Path) -> None:
    with served(hang(30)) as server:
        started = time.perf_counter()
        done = ergo("ask", picture, "Which?", "--model", f"openai:{server.url}", "--timeout", 0.5)
    assert (done.returncode, done.stdout.split(":")[0]) == (1, "failed    timeout")
    assert time.perf_counter() - started < 15


def test_forced_regions_are_asked_for_in_the_words_of_the_server(picture: Path) -> None:
    with served(says(reply("<zoom>[1, 1, 9, 9]</zoom>")), says(reply("<answer>red</answer>"))) as server:
        model = ("--model", f"openai:{server.url}", "--force-region")
        assert ergo("ask", picture, "Which?", *model, "--server", "llama.cpp").returncode == 0
        assert "grammar" in server.payloads[0]
        assert "grammar" not in server.payloads[1]


def test_the_key_of_a_server_of_ones_own_comes_from_the_environment() -> None:
    code = (
        "from ergo.cli.main import parser; from ergo.cli.serve import settings_of;"
        "print([settings_of(parser('serve').parse_args(['serve', *words])).api_key"
        " for words in ([], ['--server-key', 'flag'])])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(ERGO_SERVER_KEY="set"), check=True
    )
    assert done.stdout == "['set', 'flag']\n"
