"""ONE set of column names, and what else each may be called, for `eval`, `batch`, `data` and `train`.

Case, spaces, hyphens and underscores make no difference. A column that looks like a slip of the pen for
one of these is refused; any other is kept in `Sample.info`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from string import ascii_uppercase

from ergo.core.errors import DataError

COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("id", "index", "question_id", "qid", "doc_id", "uid", "sample_id"),
    "image": (
        "image", "picture", "images", "bytes", "image_bytes", "img", "photo", "image_path", "img_path", "path", "file",
        "file_name", "image_file", "url", "image_url",
    ),
    "question": ("question", "problem", "query", "text", "prompt", "instruction"),
    "choices": ("choices", "options", "multi_choice_options", "candidates", "choice", "option", "answer_choices"),
    "answer": ("answer", "answers", "label", "solution", "ground_truth", "gt", "gt_answer", "correct_answer", "target", "response"),
    "right_choice": ("right_choice",),
    "region": ("region", "box_xyxy", "bbox_xyxy"),
    "category": ("category", "question_type", "task_type"),
    "cluster": ("cluster", "group"),
    "hint": ("hint",),
    "info": ("info",),
}  # fmt: skip
"""What is read -> its names; where several of them are filled in a row, the first counts."""

# Met beside these in public data sets, and not to be taken for slips.
ASIDE = frozenset(
    ("l2_category", "l3_category", "cycle_category", "split", "target_instances", "image_size", "data_source")
)
ALIKE = 0.83  # difflib's ratio from which a name is taken for a slip of another
_LETTER = re.compile(r"(?:option|choice)?_?([a-z])")


@dataclass(frozen=True)
class Columns:
    """How a table's own columns are read.

    named: what is read -> the columns that hold it. letters: column of each lettered option. aside: the rest.
    """

    named: dict[str, tuple[str, ...]]
    letters: tuple[tuple[str, str], ...]
    aside: tuple[str, ...]

    def has(self, what: str) -> bool:
        return what in self.named


def plain(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold()).strip("_")


def columns_of(names: Iterable[str], where: str) -> Columns:
    """The columns of a table, or of one JSON object. where: for the message, should one be misspelt or stand twice."""
    known = {name: what for what, listed in COLUMNS.items() for name in listed}
    named: dict[str, dict[str, str]] = {}
    letters: dict[str, str] = {}
    aside: list[str] = []
    for name in names:
        short = plain(name)
        if short in known:
            if short in named.setdefault(known[short], {}):
                raise DataError(f"{where}: the column {name!r} stands twice")
            named[known[short]][short] = name
        elif found := _LETTER.fullmatch(short):
            letters[found[1].upper()] = name
        elif short and short not in ASIDE and (meant := difflib.get_close_matches(short, known, 1, ALIKE)):
            raise DataError(f"{where}: there is no column {name!r}; did you mean {meant[0]!r}?")
        elif short:
            aside.append(name)
    ordered = {what: tuple(found[short] for short in COLUMNS[what] if short in found) for what, found in named.items()}
    return Columns(
        ordered, tuple((letter, letters[letter]) for letter in ascii_uppercase if letter in letters), tuple(aside)
    )


def needed(columns: Columns, wanted: Iterable[str], where: str, names: Iterable[str]) -> None:
    """Refuse a table that lacks one of `wanted`, naming what may stand there and what does."""
    missing = [what for what in wanted if not columns.has(what)]
    if missing:
        lines = "; ".join(f"{what} (or {', '.join(COLUMNS[what][1:4])})" for what in missing)
        raise DataError(f"{where}: no column {lines}; it has {', '.join(names) or 'none'}")
