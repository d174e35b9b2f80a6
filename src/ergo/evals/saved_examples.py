"""What was shown in the first wrong answers of a run, kept as small pictures for the report.

Kept while the run goes on, for only then are the pixels at hand: a data set may lie inside one file,
may be drawn on the fly, or may be gone when the report is made.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from PIL import Image, ImageDraw

from ergo.core.geometry import Box
from ergo.core.runner import Trace
from ergo.core.view import View
from ergo.evals.conditions import Evaluation

MOST = 12  # wrong answers per condition
SIDE = 900  # pixels of the longer side
NAMED, TRUE = (222, 82, 20), (20, 150, 70)  # colours of the region named and of the true one


def picture_path(folder: Path, key: str, look: int) -> Path:
    """Where look number `look` of an evaluation is kept."""
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return folder / f"{name}-{look}.jpg"


class SavedExamples:
    """The pictures of one run folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: Counter[str] = Counter()

    def keep(self, evaluation: Evaluation, trace: Trace) -> None:
        """Keep each look of this trace, unless enough of its condition are kept."""
        if self._kept[evaluation.condition.name] >= MOST or not trace.turns:
            return
        self._kept[evaluation.condition.name] += 1
        self._folder.mkdir(exist_ok=True)
        region = trace.answer.region if trace.answer else None
        true = Box(*evaluation.region) if evaluation.region else None
        views = [view for turn in trace.turns for view in turn.views]
        for look, view in enumerate(views):
            named = region if look == 0 and len(views) > 1 else None
            _drawn(view, named, true).save(picture_path(self._folder, evaluation.key, look), quality=85)


def _drawn(view: View, named: Box | None, true: Box | None) -> Image.Image:
    image = view.pixels.copy()
    image.thumbnail((SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    scale_x, scale_y = image.width / view.size.width, image.height / view.size.height
    for box, colour in ((true, TRUE), (named, NAMED)):
        if box is not None:
            x1, y1, x2, y2 = view.from_source(box)
            pen.rectangle((x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y), outline=colour, width=3)
    return image
