"""Run in the clients' own environment: each client asks in each of its own ways, one JSON line for each.

python_clients.py ADDRESS PICTURE        PICTURE: a data URI. The server answers the number after # in a question.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "OPENAI_API_KEY": "none"}
import httpx
import instructor
import litellm
import openai
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

ADDRESS, PICTURE = sys.argv[1:3]
BASE = f"{ADDRESS}/v1"
litellm.suppress_debug_info = True
CASES: list[tuple[str, str, Callable[[], Any]]] = []


class Found(BaseModel):
    """The number of things."""

    answer: int


class Other(BaseModel):
    """A form that this server does not fill in."""

    colour: str


TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}


def case(client: str, way: str) -> Callable[[Callable[[], Any]], None]:
    def keep(work: Callable[[], Any]) -> None:
        CASES.append((client, way, work))

    return keep


def message(number: int, *more: Any, pictures: int = 1) -> list[Any]:
    image = {"type": "image_url", "image_url": {"url": PICTURE}}
    return [{"role": "user", "content": [*[image] * pictures, *more, {"type": "text", "text": f"How many? #{number}"}]}]


def deltas(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# ── openai ─────────────────────────────────────────────────────────────────────────────────────
own = openai.OpenAI(base_url=BASE, api_key="none", max_retries=0)
chat = own.chat.completions
asked = [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}, {"type": "input_text", "text": "How many? #7"}]}]  # fmt: skip
case("openai Python", "chat")(lambda: chat.create(model="ergo", messages=message(7)).choices[0].message.content)
case("openai Python", "chat, streamed")(lambda: deltas(chat.create(model="ergo", messages=message(7), stream=True)))
case("openai Python", "two pictures")(
    lambda: chat.create(model="ergo", messages=message(7, pictures=2)).choices[0].message.content
)
case("openai Python", "parse")(
    lambda: chat.parse(model="ergo", messages=message(7), response_format=Found).choices[0].message.parsed.answer
)
case("openai Python", "parse, a form of its own")(
    lambda: chat.parse(model="ergo", messages=message(7), response_format=Other)
)
case("openai Python", "tools")(lambda: chat.create(model="ergo", messages=message(7), tools=[TOOL]))
case("openai Python", "audio")(lambda: chat.create(model="ergo", messages=message(7, AUDIO)))
case("openai Python", "a file")(lambda: chat.create(model="ergo", messages=message(7, FILE)))
case("openai Python", "n")(lambda: chat.create(model="ergo", messages=message(7), n=2))
case("openai Python", "logprobs")(lambda: chat.create(model="ergo", messages=message(7), logprobs=True))
case("openai Python", "another model")(lambda: chat.create(model="gpt-9", messages=message(7)))
case("openai Python", "responses")(lambda: own.responses.create(model="ergo", input=asked).output_text)
case("openai Python", "responses, streamed")(
    lambda: "".join(
        event.delta
        for event in own.responses.create(model="ergo", input=asked, stream=True)
        if event.type == "response.output_text.delta"
    )
)
case("openai Python", "responses, parse")(
    lambda: own.responses.parse(model="ergo", input=asked, text_format=Found).output_parsed.answer
)
case("openai Python", "responses, earlier one")(
    lambda: own.responses.create(model="ergo", input=asked, previous_response_id="resp_1")
)


# ── LiteLLM ────────────────────────────────────────────────────────────────────────────────────
def lite(number: int = 7, *more: Any, **fields: Any) -> Any:
    return litellm.completion("openai/ergo", message(number, *more), api_base=BASE, api_key="none", num_retries=0, **fields)  # fmt: skip


case("LiteLLM", "chat")(lambda: lite().choices[0].message.content)
case("LiteLLM", "chat, streamed")(lambda: deltas(lite(stream=True)))
case("LiteLLM", "response_format")(
    lambda: Found.model_validate_json(lite(response_format=Found).choices[0].message.content).answer
)
case("LiteLLM", "tools")(lambda: lite(tools=[TOOL]))
case("LiteLLM", "a file")(lambda: lite(7, FILE))
case("LiteLLM", "responses")(
    lambda: litellm.responses(model="openai/ergo", input=asked, api_base=BASE, api_key="none").output_text
)

# ── LangChain ──────────────────────────────────────────────────────────────────────────────────
lang = ChatOpenAI(model="ergo", base_url=BASE, api_key="none", max_retries=0)
lang_responses = ChatOpenAI(model="ergo", base_url=BASE, api_key="none", max_retries=0, use_responses_api=True)
standard = {"type": "image", "base64": PICTURE.partition(",")[2], "mime_type": "image/jpeg"}
posed = [HumanMessage([standard, {"type": "text", "text": "How many? #7"}])]
case("LangChain", "invoke")(lambda: lang.invoke(posed).text)
case("LangChain", "stream")(lambda: "".join(chunk.text for chunk in lang.stream(posed)))
case("LangChain", "with_structured_output")(lambda: lang.with_structured_output(Found).invoke(posed).answer)
case("LangChain", "with_structured_output, json_mode")(
    lambda: lang.with_structured_output(Found, method="json_mode").invoke(posed).answer
)
case("LangChain", "with_structured_output, function_calling")(
    lambda: lang.with_structured_output(Found, method="function_calling").invoke(posed).answer
)
case("LangChain", "bind_tools")(lambda: lang.bind_tools([TOOL]).invoke(posed))
case("LangChain", "Responses API")(lambda: lang_responses.invoke(posed).text)
case("LangChain", "Responses API, streamed")(lambda: "".join(chunk.text for chunk in lang_responses.stream(posed)))
case("LangChain", "audio")(
    lambda: lang.invoke(
        [HumanMessage([{"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"}, *posed[0].content])]
    )
)


# ── llm ────────────────────────────────────────────────────────────────────────────────────────
def llm_cli(*words: str) -> str:
    """The command, with a model as its documentation says one is added."""
    import base64

    with tempfile.TemporaryDirectory() as home:
        config = [{"model_id": "ergo", "model_name": "ergo", "api_base": BASE, "vision": True, "supports_schema": True}]
        Path(home, "extra-openai-models.yaml").write_text(json.dumps(config))
        picture = Path(home, "a.jpg")
        picture.write_bytes(base64.b64decode(PICTURE.partition(",")[2]))
        command = [str(Path(sys.executable).parent / "llm"), "-m", "ergo", "--key", "none", "-a", str(picture), *words]
        done = subprocess.run([*command, "How many? #7"], capture_output=True, text=True, env=os.environ | {"LLM_USER_PATH": home})  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()


case("llm", "a question")(llm_cli)
case("llm", "--no-stream")(lambda: llm_cli("--no-stream"))
case("llm", "--schema")(lambda: json.loads(llm_cli("--schema", "answer int"))["answer"])
case("llm", "--schema, a form of its own")(lambda: llm_cli("--schema", "colour, size int"))


# ── instructor ─────────────────────────────────────────────────────────────────────────────────
def instruct(mode: instructor.Mode) -> int:
    made = instructor.from_openai(own, mode=mode)
    return made.create(model="ergo", messages=message(7), response_model=Found, max_retries=1).answer


case("instructor", "JSON_SCHEMA")(lambda: instruct(instructor.Mode.JSON_SCHEMA))
case("instructor", "JSON")(lambda: instruct(instructor.Mode.JSON))
case("instructor", "MD_JSON")(lambda: instruct(instructor.Mode.MD_JSON))
case("instructor", "TOOLS (its default)")(lambda: instruct(instructor.Mode.TOOLS))


# ── Open WebUI: what it sends, by hand (routers/openai.py and tasks.py of 0.6) ────────────────────
def webui(**fields: Any) -> Any:
    with httpx.Client(
        base_url=BASE, headers={"authorization": "Bearer none", "content-type": "application/json"}
    ) as client:
        [listed] = client.get("/models").raise_for_status().json()["data"]
        body = {
            "model": listed["id"],
            "messages": message(7),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        reply = client.post("/chat/completions", content=json.dumps(body | fields), timeout=60)
        if reply.status_code != 200:
            raise RuntimeError(reply.json()["error"]["message"])
        if not (body | fields)["stream"]:
            return reply.json()["choices"][0]["message"]["content"]
        lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
        chunks = [json.loads(line) for line in lines]
        assert chunks[-1]["usage"]["total_tokens"] > 0
        return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one["choices"])


TITLE = [
    {
        "role": "user",
        "content": "### Task: a title of 3 to 5 words, as JSON. <chat_history>USER: How many? #7</chat_history>",
    }
]
case("Open WebUI", "a chat")(webui)
case("Open WebUI", "its title")(
    lambda: webui(messages=TITLE, stream=False, stream_options=None, max_completion_tokens=1000, metadata={"task": "title_generation"})
)  # fmt: skip
case("Open WebUI", "with ids of its own")(
    lambda: webui(chat_id="a", session_id="b", id="c", user="d", parallel_tool_calls=False)
)
case("Open WebUI", "native tools")(lambda: webui(tools=[TOOL]))
case("Open WebUI", "reasoning effort")(lambda: webui(reasoning_effort="high"))


for client, way, work in CASES:
    try:
        said = work()
        print(json.dumps({"client": client, "way": way, "said": str(said)}), flush=True)
    except Exception as error:  # whatever a client raises is its user's answer
        print(json.dumps({"client": client, "way": way, "error": " ".join(str(error).split())}), flush=True)
