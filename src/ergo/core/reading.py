"""What a reply says: regions in SOURCE pixels, an answer, a thought; and how each was read (by `families`).

Replies are data: repaired where their meaning is plain, and otherwise named, never guessed at.
"""

from dataclasses import dataclass
from typing import Literal

from ergo.core.geometry import Box

RegionReading = Literal[
    "exact", "repaired_tag", "repaired_several", "repaired_fraction", "repaired_percent", "repaired_float",
    "repaired_order", "repaired_frame", "none_given", "not_numbers", "empty", "outside", "other_frame",
]  # fmt: skip
AnswerReading = Literal["exact", "repaired_tag", "no_tag", "empty"]


@dataclass(frozen=True)
class Region:
    """A region as read from a reply. box: SOURCE pixels, None where it could not be read.

    reading: names that begin with `repaired_` were mended; of several mendings the last in the list above is
    named. tag: not alone in the form asked for. several: the last of them. other_frame: outside the family's
    frame, though not outside the picture: it counts something else.
    """

    box: Box | None
    reading: RegionReading


@dataclass(frozen=True)
class Reading:
    """One reply. region: the last that can be read, or why none can. boxes: all of them, SOURCE pixels.

    is_answer: it answers, in tags or in words that name no region and do not try to.
    """

    region: Region
    boxes: tuple[Box, ...]
    is_answer: bool
    answer: str
    answer_reading: AnswerReading
    thought: str
