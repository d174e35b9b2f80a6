"""The Python API as the README and the docs show it; tests/test_api_snippets.py types it strictly and runs it.

usage: python api_snippets.py URL_OF_A_SERVER, in an empty folder
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import ergo

SERVER = f"openai:{sys.argv[1]}"
QUESTION = "Which of these is written on the tag of the fish?"
OPTIONS = ["RFCLINING", "RECLINING", "RECTINING", "PECLINING"]

# ── one question ──
result = ergo.ask("name.jpg", QUESTION, OPTIONS)
if result.answer and result.choice:
    print(result.choice.letter, result.choice.text, result.answer.region, result.answer.thought)
print(f"{result.vision_tokens} vision tokens, {result.direct_vision_tokens} in one look")
result.save("look.png")
result.save(Path("look.html"))
print(result.to_dict()["turns"][0]["views"][0]["box"])

# ── whatever holds a picture ──
pixels = np.zeros((600, 800, 3), dtype=np.uint8)
image = Image.fromarray(pixels)
image.save("black.png")
with open("black.png", "rb") as file:
    for picture in ("black.png", Path("black.png"), Path("black.png").read_bytes(), file, image, pixels):
        assert ergo.load_image(picture).size == ergo.Size(800, 600)

# ── how to look ──
ergo.ask(image, QUESTION, model=SERVER, budget=640)
ergo.ask(image, QUESTION, model=SERVER, flow="one_look", budget=1280)
ergo.ask(image, QUESTION, model=SERVER, region=(100, 100, 400, 300), temperature=0.7, seed=1)

# ── a model with settings, the same as the flags of the command line ──
model = ergo.open_backend(SERVER, family="qwen2_5_vl", timeout=60, extra_body={"top_k": 1})
answer = ergo.ask(image, QUESTION, model=model).answer
print(answer.text if answer else "no answer")


# ── many at once ──
async def side_by_side() -> list[ergo.Result]:
    questions = (f"{QUESTION} ({number})" for number in range(8))
    return await asyncio.gather(*(ergo.aask(image, one, model=model) for one in questions))


print([one.answer.text if one.answer else one.error for one in asyncio.run(side_by_side())])
inquiries = (ergo.Inquiry(name, QUESTION) for name in ("black.png", "missing.png"))
for one in ergo.ask_many(inquiries, model=model, concurrency=4):
    print(one.answer.text if one.answer else f"failed: {one.error}")


# ── a model of your own ──
Reply = ergo.Completion | ergo.BackendError


class Mine:
    parallel = True  # complete() may be called from many threads at once

    def complete(self, requests: Sequence[ergo.Request]) -> list[Reply]:
        return [self._one(request) for request in requests]

    def _one(self, request: ergo.Request) -> Reply:
        for message in request.chat:
            for view in message.views:
                assert view.pixels.size == (view.size.width, view.size.height)  # a Pillow image
        looks = request.expect == "region"
        reply = "<zoom>[0, 0, 200, 200]</zoom>" if looks else "<answer>black</answer>"
        return ergo.Completion(reply, ergo.Usage(generated_tokens=len(reply.split())))


mine = ergo.Model.of(Mine(), family="qwen2_5_vl")
print(ergo.ask(image, QUESTION, model=mine).answer)

# ── a family of your own: Qwen2.5-VL with another prompt ──
prompts = replace(mine.family.prompts, region="{question} Where? <zoom>[x1, y1, x2, y2]</zoom>")
family = replace(mine.family, name="mine", prompts=prompts)
assert ergo.ask(image, QUESTION, model=ergo.Model.of(Mine(), family)).error is None

# ── what goes wrong ──
try:
    ergo.ask("missing.png", QUESTION, model=mine)
except ergo.PictureError as error:
    print(error.kind, error)
try:
    ergo.ask(image, QUESTION, model="no such model")
except ergo.UsageError as error:
    print(error)
failed = ergo.ask(image, QUESTION, model=ergo.Model.of(ergo.ScriptedBackend([ergo.BackendError("down")]), "qwen3_vl"))
print(failed.error)

# ── the flow itself, driven by hand ──
look = ergo.coarse_to_fine(ergo.load_image(image), ergo.Question(QUESTION, ("red", "blue")), mine.look_config(200))
request = next(look)
try:
    while True:
        [completion] = mine.backend.complete([request])
        assert isinstance(completion, ergo.Completion)
        request = look.send(completion)
except StopIteration as stop:
    print(stop.value)
