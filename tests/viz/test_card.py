"""What `ergo ask --save` writes: the same story as a picture and as a page, for every kind of Trace."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ergo.backends.scripted import ScriptedBackend, ScriptedReply
from ergo.core.errors import BackendError
from ergo.core.flows import LookConfig, Question, coarse_to_fine, crop_only, one_look
from ergo.core.geometry import Box, TokenBudget
from ergo.core.runner import FlowMaker, Trace
from ergo.families import QWEN2_5_VL, QWEN3_VL
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.traces.run import run
from ergo.viz import page_of, picture_of
from ergo.viz.sheet import ACCENT, GAP, INNER_WIDTH, MARGIN, SHEET_WIDTH
from ergo.viz.story import Story

QUESTION = Question("What is written on the <sign> & where?", ("STOP", "GO", "<b>nothing</b>"))
LOOKING = LookConfig(QWEN2_5_VL, TokenBudget(64), TokenBudget(100))
ZOOM = "<think>The sign hangs left of the door.</think><zoom>[20, 20, 90, 80]</zoom>"
ANSWER = "<think>It reads STOP.</think><answer>A</answer>"


def picture(width: int = 900, height: int = 600) -> Picture:
    ramp = np.linspace(0, 255, width * height, dtype=np.float32).reshape(height, width).astype(np.uint8)
    return Picture(Image.fromarray(ramp).convert("RGB"), "street <1>.jpg")


def traced(flow: FlowMaker, *replies: ScriptedReply) -> Trace:
    [trace] = run([(None, flow)], ScriptedBackend(replies))
    return trace


def both_looks(*replies: ScriptedReply, shown: Picture | None = None, question: Question = QUESTION) -> Trace:
    return traced(lambda: coarse_to_fine(shown or picture(), question, LOOKING), *replies)


TRACES = {
    "both looks": both_looks(ZOOM, ANSWER),
    "no region": both_looks("I cannot tell.", ANSWER),
    "no answer": both_looks(ZOOM, ""),
    "failed at once": both_looks(BackendError("the server <did> not answer", "refused")),
    "failed later": both_looks(ZOOM, BackendError("the server <did> not answer", "refused")),
    "one look": traced(lambda: one_look(picture(), QUESTION, LOOKING), ANSWER),
    "a crop": traced(lambda: crop_only(picture(), QUESTION, LOOKING, Box(300, 200, 420, 260)), ANSWER),
}


def holds_accent(image: Image.Image) -> bool:
    return bool((np.asarray(image) == ACCENT).all(axis=2).any())


class Tags(HTMLParser):
    """The tags of a page and the sources it names."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def tags_of(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.mark.parametrize("name", TRACES)
def test_every_trace_makes_a_sheet(name: str) -> None:
    sheet = picture_of(TRACES[name], picture(), QUESTION)
    assert sheet.mode == "RGB"
    assert sheet.width == SHEET_WIDTH
    assert 500 < sheet.height < 2500
    assert holds_accent(sheet) == (name != "failed at once"), "nothing was spent, nothing was found"


@pytest.mark.parametrize("name", TRACES)
def test_every_trace_makes_a_page_that_needs_nothing_else(name: str) -> None:
    page = page_of(TRACES[name], picture(), QUESTION)
    tags = tags_of(page)
    views = [view for turn in TRACES[name].turns for view in turn.views]
    assert len(tags.sources) == max(1, len(views))
    assert all(source.startswith("data:image/png;base64,") for source in tags.sources)
    assert {"sign", "did", "b1", "script"}.isdisjoint(tags.seen), "what people and models say is escaped"
    assert "What is written on the &lt;sign&gt; &amp; where?" in page
    assert "street &lt;1&gt;.jpg" in page


def test_the_page_shows_what_the_model_saw() -> None:
    trace = TRACES["both looks"]
    tags = tags_of(page_of(trace, picture(), QUESTION))
    for source, turn in zip(tags.sources, trace.turns, strict=True):
        assert np.array_equal(np.asarray(load_image(source).pixels), np.asarray(turn.views[0].pixels))


def test_the_story_is_told() -> None:
    page = page_of(TRACES["both looks"], picture(), QUESTION)
    assert "The sign hangs left of the door." in page
    assert "It reads STOP." in page
    assert '<p class="outcome">Answer: A (STOP)</p>' in page
    assert "(C) &lt;b&gt;nothing&lt;/b&gt;" in page
    region = TRACES["both looks"].answer
    assert region is not None
    assert f"region {region.region}" in page
    found = re.search(r'class="region" style="left: ([\d.]+)%; top: ([\d.]+)%', page)
    assert found
    assert float(found[1]) == pytest.approx(100 * 20 / 252, abs=0.2), "as the model said it, of a view 252 wide"


def test_the_cost_is_that_of_the_direct_look_at_full_size() -> None:
    trace = TRACES["both looks"]
    full = TokenBudget(16384)
    direct = full.cost(full.fit(picture().size))
    assert f"{trace.vision_tokens:,} vision tokens, {trace.vision_tokens / direct:.0%} of {direct:,}" in page_of(
        trace, picture(), QUESTION
    )
    wide = LookConfig(QWEN3_VL, TokenBudget(64, patch=32), TokenBudget(64, patch=32))
    other = traced(lambda: one_look(picture(), QUESTION, wide), "A")
    full = TokenBudget(16384, patch=32)
    assert f"of {full.cost(full.fit(picture().size)):,} at full size" in page_of(other, picture(), QUESTION)


def test_one_look_at_the_same_tokens_stands_beside_the_two_with_its_answer() -> None:
    single = traced(lambda: one_look(picture(), QUESTION, LOOKING), "<answer>I cannot tell</answer>")
    page = page_of(TRACES["both looks"], picture(), QUESTION, single)
    assert len(tags_of(page).sources) == 3
    titles = re.findall(r"<b>(.+?)</b><br>", page)
    assert titles == ["First look", "Close look", "One look at the same tokens"]
    assert f"Answer: I cannot tell\nshown at {single.turns[0].views[0].size}, {single.vision_tokens} tokens" in page
    assert "&lt;answer&gt;I cannot tell&lt;/answer&gt;" in page, "its reply as it came"
    failed = page_of(TRACES["both looks"], picture(), QUESTION, TRACES["failed at once"])
    assert "Failed: the server &lt;did&gt; not answer" in failed
    assert '<p class="outcome">Answer: A (STOP)</p>' in failed


@pytest.mark.parametrize("name", ["both looks", "no region", "failed later"])
def test_lines_lead_from_a_region_to_its_close_look_whatever_stands_beside_it(name: str) -> None:
    """Between the first two columns, where nothing else is drawn."""
    for compared, columns in ((None, 2), (TRACES["one look"], 3)):
        sheet = picture_of(TRACES[name], picture(), QUESTION, compared)
        width = (INNER_WIDTH - GAP * (columns - 1)) // columns
        between = sheet.crop((MARGIN + width + 1, 0, MARGIN + width + GAP - 1, sheet.height // 2))
        assert holds_accent(between) == (name == "both looks")


def test_what_went_wrong_is_said() -> None:
    assert "the server &lt;did&gt; not answer" in page_of(TRACES["failed later"], picture(), QUESTION)
    assert "failed before the first look" in page_of(TRACES["failed at once"], picture(), QUESTION)
    fallback = page_of(TRACES["no region"], picture(), QUESTION)
    assert "region: none given" in fallback
    assert "everything again" in fallback
    assert "Answer: nothing" in page_of(TRACES["no answer"], picture(), QUESTION)


@pytest.mark.parametrize(
    "text", ["", "word " * 5000, "x" * 20_000, "line\n" * 5000, "\x00\x1b[31m\u202e", "木の看板に何と書いて？"]
)
def test_any_text_fits(text: str) -> None:
    question = Question(text)
    trace = both_looks(f"<think>{text}</think><zoom>[20, 20, 90, 80]</zoom>", text, question=question)
    assert picture_of(trace, picture(), question).height < 10_000
    assert tags_of(page_of(trace, picture(), question)).sources


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (30, 20)])
def test_any_picture_fits(size: tuple[int, int]) -> None:
    odd = picture(*size)
    trace = both_looks("<zoom>[0, 0, 28, 28]</zoom>", ANSWER, shown=odd)
    assert picture_of(trace, odd, QUESTION).width == SHEET_WIDTH
    assert page_of(trace, odd, QUESTION)


def test_no_folder_of_this_machine_is_shown() -> None:
    private = Picture(Image.new("RGB", (300, 200)), "/home/me/secret/street.jpg")
    page = page_of(TRACES["one look"], private, QUESTION, TRACES["failed at once"])
    assert "street.jpg" in page
    assert "secret" not in page


def test_what_a_model_thought_is_not_shown_where_its_answer_is_not_believed() -> None:
    """It is mostly a loop of the few words it has; the page still has its replies as they came."""
    garbled = both_looks("<think>blue blue </answer> tag</think>", ANSWER)
    assert garbled.answer
    held = replace(garbled, answer=replace(garbled.answer, text="I cannot tell", caution="knows little"))
    assert Story.of(garbled, picture(), QUESTION).reasoning
    assert Story.of(held, picture(), QUESTION).reasoning == ()
    assert Story.of(held, picture(), QUESTION).replies[0].startswith("<think>blue blue")
