"""The table of reply forms: what a model wrote -> what is read from it. The view is 560 x 280 of 2800 x 1400."""

from __future__ import annotations

import time

import pytest
from PIL import Image

from ergo.core.geometry import Box, TokenBudget
from ergo.core.view import View
from ergo.families import FAMILIES
from ergo.images.picture import Picture

VIEW = View.of(Picture(Image.new("RGB", (2800, 1400))), TokenBudget(200))  # one view pixel is five source pixels
HERE = Box(50, 100, 150, 200)  # [10, 20, 30, 40] of the view's pixels
THERE = Box(280, 280, 560, 560)  # [100, 200, 200, 400] in thousandths

PIXELS: list[tuple[str, str, Box | None]] = [
    # as asked for
    ("<think>x</think><zoom>[10, 20, 30, 40]</zoom>", "exact", HERE),
    ("<zoom> [10,20,30,40] </zoom>", "exact", HERE),
    ("<zoom>\n[ 10 ;20\t30 , 40 ]\n</zoom>", "exact", HERE),
    ("<zoom>[١٠, ٢٠, ３０, ４０]</zoom>", "exact", HERE),  # digits are digits
    ("＜zoom＞［１０，２０，３０，４０］＜／zoom＞", "exact", HERE),
    ("<zoom>【10，20、30，40】</zoom>", "exact", HERE),
    ("<zoom>[+10, 20, 30, 40]</zoom>", "exact", HERE),
    ("<zoom>[0, 0, 560, 280]</zoom>", "exact", Box(0, 0, 2800, 1400)),
    ("<zoom><zoom>[10, 20, 30, 40]</zoom></zoom>", "exact", HERE),
    # the meaning is plain
    ("<zoom>[10.0, 20.5, 30, 40]</zoom>", "repaired_float", Box(50, 102, 150, 200)),
    ("<zoom>[1e1, .2e2, 30., 40]</zoom>", "repaired_float", HERE),
    ("<zoom>[30, 40, 10, 20]</zoom>", "repaired_order", HERE),
    ("<zoom>[30, 20, 10, 40]</zoom>", "repaired_order", HERE),
    ("<zoom>[10, 40, 30, 20]</zoom>", "repaired_order", HERE),  # reversed in y only
    ("<zoom>[-5, 20, 30, 40]</zoom>", "repaired_frame", Box(0, 100, 150, 200)),
    ("<zoom>[10, -20, 30, 40]</zoom>", "repaired_frame", Box(50, 0, 150, 200)),
    ("<zoom>[500, 200, 900, 280]</zoom>", "repaired_frame", Box(2500, 1000, 2800, 1400)),
    ("<zoom>[500, 200, 560, 900]</zoom>", "repaired_frame", Box(2500, 1000, 2800, 1400)),
    ("<zoom>[900, 900, -10.5, 40]</zoom>", "repaired_frame", Box(0, 200, 2800, 1400)),  # the last mending is named
    ("<zoom>[10, 20, 30, 40]", "repaired_tag", HERE),
    ("<zoom>[10, 20, 30, 40]</zoo", "repaired_tag", HERE),
    ("<zoom>10 20 30 40</zoom>", "repaired_tag", HERE),
    ("<zoom>(10, 20, 30, 40)</zoom>", "repaired_tag", HERE),
    ("<zoom>[[10, 20, 30, 40]]</zoom>", "repaired_tag", HERE),
    ("<zoom>the cup at [10, 20, 30, 40]</zoom>", "repaired_tag", HERE),
    ("<zoom>[10px, 20px, 30 px, 40 pixels]</zoom>", "repaired_tag", HERE),
    ("look at [10, 20, 30, 40].", "repaired_tag", HERE),
    # the families' own forms
    ("[[10, 20], [30, 40]]", "repaired_tag", HERE),
    ("<zoom>[10, 20], [30, 40]</zoom>", "repaired_tag", HERE),
    ("(10, 20) to (30, 40)", "repaired_tag", HERE),
    ("top-left (10, 20), bottom-right (30, 40)", "repaired_tag", HERE),
    ("Top left corner: (10, 20) and the bottom right corner: (30, 40)", "repaired_tag", HERE),
    (r"<zoom>\[10, 20, 30, 40\]</zoom>", "exact", HERE),
    ("It is at x1=10, y1=20, x2=30, y2=40.", "repaired_tag", HERE),
    ('{"x0": 10, "y0": 20, "x1": 30, "y1": 40}', "repaired_tag", HERE),
    ("<|object_ref_start|>the cup<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>", "repaired_tag", HERE),
    ("<box>10 20 30 40</box>", "repaired_tag", HERE),
    ("<box>[[10, 20, 30, 40]]</box>", "repaired_tag", HERE),
    ("<|begin_of_box|>[[10,20,30,40]]<|end_of_box|>", "repaired_tag", HERE),
    ('```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "cup"}]\n```', "repaired_tag", HERE),
    ('{"box_2d": [20, 10, 40, 30], "label": "cup"}', "repaired_tag", HERE),  # box_2d is y first, whoever says it
    ("<box_2d: [[20, 10, 40, 30]]>", "repaired_tag", HERE),
    ('{"x1": 10, "y1": 20, "x2": 30, "y2": 40}', "repaired_tag", HERE),
    ('<zoom>{"y2": 40, "x1": 10, "label": "cup", "x2": 30, "y1": 20}</zoom>', "exact", HERE),
    ("<zoom>[x1=10, y1=20, x2=30, y2=40]</zoom>", "repaired_tag", HERE),
    ("xmin: 10, ymin: 20, xmax: 30, ymax: 40", "repaired_tag", HERE),
    ("{'left': 10, 'top': 20, 'right': 30, 'bottom': 40}", "repaired_tag", HERE),
    ('{"x": 10, "y": 20, "width": 20, "height": 20}', "repaired_tag", HERE),
    ('<region x1="10" y1="20" x2="30" y2="40"/>', "repaired_tag", HERE),
    ('<tool_call>{"name": "image_zoom_in_tool", "arguments": {"bbox_2d": [10, 20, 30, 40], "img_idx": 0}}</tool_call>',
     "repaired_tag", HERE),
    # another frame that says so: a unit, or a range that leaves no doubt
    ("<zoom>[25%, 25%, 50%, 50%]</zoom>", "repaired_percent", Box(700, 350, 1400, 700)),
    ("<zoom>[25 %, 25 %, 150 %, 50 %]</zoom>", "repaired_frame", Box(700, 350, 2800, 700)),
    ("<zoom>[0.25, 0.25, 0.5, 0.5]</zoom>", "repaired_fraction", Box(700, 350, 1400, 700)),
    ("<zoom>[0, 0, 1.0, 0.5]</zoom>", "repaired_fraction", Box(0, 0, 2800, 700)),
    ("<zoom>[25%, 20, 50%, 40]</zoom>", "not_numbers", None),  # neither nor
    # drafts: what stands last, after the thought, counts
    ("<think>maybe [1, 2, 3, 4]</think><zoom>[10, 20, 30, 40]</zoom>", "exact", HERE),
    ("first <zoom>[1, 2, 3, 4]</zoom>?\n</think>\n<zoom>[10, 20, 30, 40]</zoom>", "exact", HERE),
    ("I write <zoom>[x1, y1, x2, y2]</zoom>: <zoom>[10, 20, 30, 40]</zoom>", "exact", HERE),  # the template restated
    ("in the form <zoom>[x1, y1, x2, y2]</zoom> it is [10, 20, 30, 40]", "repaired_tag", HERE),
    ("◁think▷<zoom>[1, 2, 3, 4]</zoom>◁/think▷<zoom>[10, 20, 30, 40]</zoom>", "exact", HERE),
    ("<|channel>thought\n[1, 2, 3, 4]<channel|><zoom>[10, 20, 30, 40]</zoom>", "exact", HERE),
    ("<think>so <zoom>[10, 20, 30, 40]</zoom></think>", "repaired_tag", HERE),  # nothing else was said
    ("[1, 2, 3, 4] <zoom>[10, 20, 30, 40]</zoom>", "exact", HERE),
    # several: the last that can be read, and it says so
    ("<zoom>[1, 2, 3, 4]</zoom><zoom>[10, 20, 30, 40]</zoom>", "repaired_several", HERE),
    ("<zoom>[1, 2, 3, 4], [10, 20, 30, 40]</zoom>", "repaired_several", HERE),
    ("the cup (1, 2), not [1, 2, 3, 4] but [10, 20, 30, 40]", "repaired_several", HERE),
    ("<zoom>[10, 20, 30, 40]</zoom> again: <zoom>[10, 20, 30, 40]</zoom>", "exact", HERE),
    ("<zoom>[10, 20, 30, 40]</zoom> or <zoom>[5, 5, 5, 9]</zoom>", "exact", HERE),  # the other is none
    # no area, or not on this picture
    ("<zoom>[10, 20, 10, 40]</zoom>", "empty", None),
    ("<zoom>[10, 20, 30, 20]</zoom>", "empty", None),
    ("<zoom>[5000, 20, 6000, 100]</zoom>", "outside", None),
    ("<zoom>[-30, -20, -3, -2]</zoom>", "outside", None),
    ("<zoom>[10, -20, 30, 0]</zoom>", "outside", None),
    ("<zoom>[900, 20, 950, 40]</zoom>", "other_frame", None),  # thousandths, or pixels of the source: no telling
    ("<zoom>[560, 0, 561, 10]</zoom>", "other_frame", None),
    ("<zoom>[100, 280, 200, 300]</zoom>", "other_frame", None),
    ("<zoom>[2000, 800, 2700, 1300]</zoom>", "other_frame", None),
    # no four numbers
    ("<zoom>the cup</zoom>", "not_numbers", None),
    ("<zoom>[1, 2, 3]</zoom>", "not_numbers", None),
    ("<zoom>[1, 2, 3, 4, 5]</zoom>", "not_numbers", None),
    ("<zoom>[1, 2] and the cup [3, 4]</zoom>", "not_numbers", None),
    ("<zoom>[10-20, 30-40]</zoom>", "not_numbers", None),
    ("<zoom>[1.2.3.4]</zoom>", "not_numbers", None),
    ("<zoom>[x1=10, y1=20, x2=30]</zoom>", "not_numbers", None),
    ("<zoom>[nan, 2, 3, inf]</zoom>", "not_numbers", None),
    ("<zoom>[1e400, 2, 3, 4]</zoom>", "not_numbers", None),
    ("<zoom>[1e4000, 2, 3, 4, 5]</zoom>", "not_numbers", None),
    (f"<zoom>[{'9' * 400}, 2, 3, 4]</zoom>", "not_numbers", None),
    ("<zoom>[10, 20, 30, 4", "not_numbers", None),  # cut off: 4 may be the beginning of 40
    ("<zoom></zoom>", "not_numbers", None),
    ("<zoom>", "not_numbers", None),
    ("I cannot see it.", "none_given", None),
    ("No zoom is needed: <answer>B</answer>", "none_given", None),
    ("<think>[10, 20, 30, 40]?</think>The sign is too far away.", "none_given", None),
    ("10, 20, 30, 40", "none_given", None),
    ("the points (10, 20), (30, 40, 50)", "none_given", None),
    ("", "none_given", None),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "reading", "box"), PIXELS, ids=[ascii(row[0])[:50] for row in PIXELS])
def test_a_reply_is_read_or_mended_or_named(reply: str, reading: str, box: Box | None) -> None:
    region = FAMILIES["qwen2_5_vl"].read_region(reply, VIEW)
    assert (region.reading, region.box) == (reading, box)


@pytest.mark.parametrize(
    ("family", "reply", "reading", "box"),
    [
        ("qwen3_vl", "<zoom>[100, 200, 200, 400]</zoom>", "exact", THERE),
        ("qwen3_vl", "<zoom>[0, 0, 1000, 1000]</zoom>", "exact", Box(0, 0, 2800, 1400)),
        ("qwen3_vl", "<zoom>[500, 500, 1200, 600]</zoom>", "repaired_frame", Box(1400, 700, 2800, 840)),
        ("qwen3_vl", "<zoom>[1000, 0, 1100, 10]</zoom>", "other_frame", None),
        ("qwen3_vl", "<zoom>[0.1, 0.2, 0.2, 0.4]</zoom>", "repaired_fraction", THERE),
        ("qwen3_vl", "<zoom>[0, 0, 1, 1]</zoom>", "exact", Box(0, 0, 3, 1)),  # whole numbers: no doubt is left
        ("kimi", "<zoom>[0.100, 0.200, 0.200, 0.400]</zoom>", "exact", THERE),
        ("kimi", "<zoom>[0, 0, 1, 1]</zoom>", "exact", Box(0, 0, 2800, 1400)),
        ("kimi", "<zoom>[100, 200, 200, 400]</zoom>", "other_frame", None),
        ("kimi", "<zoom>[10%, 20%, 20%, 40%]</zoom>", "repaired_percent", THERE),
        ("gemma4", "<zoom>[200, 100, 400, 200]</zoom>", "exact", THERE),
        ("gemma4", '[{"box_2d": [200, 100, 400, 200], "label": "cup"}]', "repaired_tag", THERE),
        ("gemma4", "x1=100 y1=200 x2=200 y2=400", "repaired_tag", THERE),  # names are in no order
        ("hosted", '<zoom>{"x1": 100, "y1": 200, "x2": 200, "y2": 400}</zoom>', "exact", THERE),
        ("hosted", '[{"box_2d": [200, 100, 400, 200]}]', "repaired_tag", THERE),
    ],
)
def test_a_family_counts_in_its_own_frame(family: str, reply: str, reading: str, box: Box | None) -> None:
    region = FAMILIES[family].read_region(reply, VIEW)
    assert (region.reading, region.box) == (reading, box)


@pytest.mark.parametrize(
    ("numbers", "reading"),
    [("400, 20, 1000, 40", "other_frame"), ("400, 20, 1001, 40", "outside"), ("10, 400, 20, 1000", "other_frame"),
     ("10, 400, 20, 1001", "outside")],
)  # fmt: skip
def test_of_a_small_picture_thousandths_are_another_frame_and_more_is_none(numbers: str, reading: str) -> None:
    small = View.of(Picture(Image.new("RGB", (280, 140))), TokenBudget(50))
    assert FAMILIES["qwen2_5_vl"].read_region(f"<zoom>[{numbers}]</zoom>", small).reading == reading


@pytest.mark.parametrize(
    ("reply", "boxes"),
    [
        ("<zoom>[10, 20, 30, 40]</zoom><zoom>[0, 0, 560, 280]</zoom>", (HERE, Box(0, 0, 2800, 1400))),
        ("<zoom>[10, 20, 30, 40], [0, 0, 560, 280]</zoom>", (HERE, Box(0, 0, 2800, 1400))),
        ('[{"bbox_2d": [10, 20, 30, 40]}, {"bbox_2d": [10, 20, 30, 40]}]', (HERE,)),
        ("<zoom>[10, 20, 30, 40], [1, 2, 1, 2]</zoom>", (HERE,)),
        ("<answer>B</answer>", ()),
    ],
)
def test_every_region_of_a_reply_is_known_once(reply: str, boxes: tuple[Box, ...]) -> None:
    assert FAMILIES["qwen2_5_vl"].read(reply, VIEW).boxes == boxes


ANSWERS = [
    ("<answer>B</answer>", "B", "exact"),
    ("<answer>A</answer> no, <answer> B </answer>", "B", "exact"),
    ("<answer>A or <answer>B</answer>", "B", "exact"),
    ("<answer>B</answer> and <answer>", "B", "exact"),
    ("<think> it is red <think> <answer>B</answer>", "B", "exact"),
    ("<answer>two\nlines</answer>", "two\nlines", "exact"),
    ("<think>x</think><answer>red", "red", "repaired_tag"),
    ("<think> it is red <think> <answer>B", "B", "repaired_tag"),
    ("<think>x</think> It is red.", "It is red.", "no_tag"),
    ("<think> it is red <think> It is red.", "It is red.", "no_tag"),  # the released prompt's own typo
    ("red", "red", "no_tag"),
    ("red</answer>", "red", "no_tag"),
    ("<zoom>[1, 2, 3, 4]</zoom>", "", "empty"),  # a region is no answer
    ("Look there: <zoom>[1, 2, 3, 4]", "Look there:", "no_tag"),
    ("<answer> </answer>", "", "empty"),
    ("<think>x</think><answer>", "", "empty"),
    ("<think>cut off in the mid", "", "empty"),
    ("<think>all of it</think>", "", "empty"),
    (" \n", "", "empty"),
    ("", "", "empty"),
    # drafts inside the thought
    ("Option (A) blue would be wrong; it is (B).\n</think>\n\nB", "B", "no_tag"),
    ("<think><answer>A</answer>?</think> no: <answer>B</answer>", "B", "exact"),
    ("A?</think>A??</think>\n<answer>B</answer>", "B", "exact"),
    ("<think>so <answer>B</answer></think>", "B", "repaired_tag"),  # nothing else was said
    ("<thinking>A</thinking>B", "B", "no_tag"),
    # tokens that are no part of the answer
    ("<think>x</think>The answer is <|begin_of_box|>B<|end_of_box|>.", "B", "exact"),
    ("<answer><|begin_of_box|>B<|end_of_box|></answer>", "B", "exact"),
    ("<|begin_of_box|>B", "B", "repaired_tag"),
    ("B<|im_end|>", "B", "no_tag"),
    ("B<end_of_turn>", "B", "no_tag"),
    ("◁think▷A◁/think▷B", "B", "no_tag"),
    ("<|channel>thought\nA<channel|>B<turn|>", "B", "no_tag"),
]


@pytest.mark.parametrize(("reply", "text", "reading"), ANSWERS)
def test_an_answer_is_read_or_named(reply: str, text: str, reading: str) -> None:
    assert FAMILIES["glm4v"].read_answer(reply) == (text, reading)


@pytest.mark.parametrize(
    ("reply", "thought"),
    [
        ("<think> left of it </think><zoom>[1, 2, 3, 4]</zoom>", "left of it"),
        ("left of it\n</think><zoom>[1, 2, 3, 4]</zoom>", "left of it"),  # the opening tag stands in the template
        ("Well. <think>left of it</think>B", "left of it"),
        ("<think> left of it <think> <answer>B</answer>", "left of it"),
        ("<think>left of it<zoom>[1, 2, 3, 4]</zoom>", "left of it"),
        ("<think>left of it<answer>B</answer>", "left of it"),
        ("<think>left of it", "left of it"),
        ("<zoom>[1, 2, 3, 4]</zoom>", ""),
        ("", ""),
    ],
)
def test_a_thought_is_read_closed_or_not(reply: str, thought: str) -> None:
    assert FAMILIES["qwen2_5_vl"].read_thought(reply) == thought


PIECES = [
    "[", "1 ", "<zoom>", "[1, 2, 3, ", "<answer>", "<think>", "</think>", "</answer>", "1e", "<zoom>[1,2],", "(1,2)",
    "x1=1 ", "x1", '"x1": 1, "y1": 2, "x2": 3, ', "<box>1 2 3 ", "<box>", "box_2d: [", "9", " ", "<|begin_of_box|>",
    "◁think▷", "<channel|>", "a", "％", "<zoom>1" + " " * 40, "[1 %, ", "x_", "<", "[1,2,3,4]", "<think><answer>",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma4"])
def test_reading_takes_time_in_proportion_to_the_reply(piece: str, family: str) -> None:
    """200,000 characters of nonsense take as long as ten times 20,000 (with room for a busy machine), and little."""

    def seconds(length: int) -> float:
        reply = piece * (length // len(piece))
        started = time.process_time()
        FAMILIES[family].read(reply, VIEW)
        return time.process_time() - started

    assert min(seconds(200_000) for _ in range(2)) < 40 * min(seconds(20_000) for _ in range(3)) + 0.5
