"""The words around the question."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompts:
    """{question} is without options in `region`, `again` and `last`, with them elsewhere.

    earlier: how a question is put that follows others in a conversation; empty for models that take one at a time.
    look, again, last: of the flow as_needed: the first look, one more, and the last one. form, space: how a region
    is written there, and what its numbers count. options_last: options stand there with the later looks, not with the
    first.
    """

    system: str
    region: str
    answer: str
    direct: str
    earlier: str = "Earlier in this conversation:\n{earlier}\n\nNow: {question}"
    look: str = (
        "{question}\nIf this image shows enough, give the final answer now, enclosed within <answer> ... </answer>. "
        "If it does not, do not answer yet: name the region of the image that you need enlarged, or a few of them, each "
        "in this form: <zoom>{form}</zoom>. {space}"
    )
    again: str = (
        "These are the regions you named, enlarged from the original image. {question}\nGive the final answer within "
        "<answer> ... </answer>, or name other or smaller regions of the FIRST image in the same form. If the image "
        "does not show it, say <answer>cannot tell</answer>."
    )
    last: str = (
        "These are the regions you named, enlarged from the original image. {question}\nGive the final answer now, "
        "within <answer> ... </answer>. If the image does not show it, say <answer>cannot tell</answer>."
    )
    form: str = "[x1, y1, x2, y2]"
    space: str = "Coordinates count pixels of the first image."
    options_last: bool = False


# The released prompts, verbatim, the missing slash of the second <think> included
# (nota-github/ERGO src/ergo/const.py @ c6d6742).
PUBLISHED = Prompts(
    system="You are a helpful assistant. Given an image and one question. First, identify the "
    "coordinates of the key image area relevant to solving the problem. Append the coordinates in "
    "[x1, y1, x2, y2] format at the end of your response and stop. This will trigger cropping of the "
    "corresponding area in the original image and enlarge it for improved clarity. Once the enlarged "
    "image is available, provide the final answer.",
    region="{question} First, consider how to zoom in on the image to include only the region "
    "containing all the information necessary to answer the question. Output the thinking process in "
    "<think> </think> tags and then output the region's bounding box coordinates in the following "
    "format <zoom>[x1, y1, x2, y2]</zoom> tags.",
    answer="{question}\nCarefully analyze both the original image and the enlarged sub-image to solve "
    "the question step by step. Present your reasoning clearly the following format strictly "
    "<think> ... <think>, and provide the final answer enclosed within <answer> ... </answer>",
    direct="{question}\nProvide the final answer enclosed within <answer> ... </answer>",
)

# For models small enough that reading the prompt would cost more than looking (ours: ergo-tiny).
TERSE = Prompts(
    system="", region="{question} Where?", answer="{question}", direct="{question}", earlier="{question}",
    look="{question} Where?", again="{question}", last="{question}", options_last=True,
)  # fmt: skip


def pinned(form: str, space: str) -> Prompts:
    """Prompts that say what the coordinates count: of 21 local models, 21 were usable so, and 5 without.

    form: a region as the family writes it. space: the numbers' meaning, as a sentence.
    """
    return Prompts(
        system="",
        region="{question} First, consider how to zoom in on the image to include only the region containing "
        "all the information necessary to answer the question. Do not answer yet: that region will be cut from "
        "the original image and enlarged. Give it as the last line of your reply, in this form: <zoom>"
        + form.replace("{", "{{").replace("}", "}}")
        + f"</zoom>. {space}",
        answer="This is that region, enlarged. {question}\nUse both images, and give the final answer enclosed "
        "within <answer> ... </answer>",
        direct=PUBLISHED.direct,
        form=form,
        space=space,
    )


THOUSANDTHS = (
    "Coordinates run from 0 to 1000: x from the left edge of the image (0) to its right edge (1000), "
    "y from its top edge (0) to its bottom edge (1000), whatever its size in pixels."
)
FRACTIONS = (
    "Coordinates run from 0 to 1, with three decimals: x from the left edge of the image (0) to its right edge (1), "
    "y from its top edge (0) to its bottom edge (1), whatever its size in pixels."
)
XYXY = "[x1, y1, x2, y2]"
