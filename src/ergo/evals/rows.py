"""Rows of a run folder as the report reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ergo.core.errors import DataError
from ergo.core.geometry import Box, Size
from ergo.evals.conditions import Evaluation
from ergo.grading import MATCHINGS, Matching, Truth, Verdict, choice_of, grade
from ergo.traces.folder import read_config, read_rows, read_sessions
from ergo.traces.rows import read_box


@dataclass(frozen=True, eq=False)
class ResultRow:
    """One evaluation and what came of it."""

    evaluation: Evaluation
    record: dict[str, Any]

    @classmethod
    def of(cls, row: dict[str, Any]) -> ResultRow:
        try:
            return cls(Evaluation.from_row(row["evaluation"]), row)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"a row of this run is not from `ergo eval` ({error!r})") from error

    @property
    def key(self) -> str:
        return str(self.record["key"])

    @property
    def error(self) -> str | None:
        """Kind of the failure, if it failed."""
        return str(self.record["error"]["kind"]) if self.record["error"] else None

    @property
    def turns(self) -> list[dict[str, Any]]:
        return list(self.record["turns"])

    @property
    def reply(self) -> str:
        return str(self.turns[-1]["text"]) if self.turns else ""

    def verdict(self, matching: Matching) -> Verdict:
        """A failed evaluation is wrong, under every match."""
        return self._verdicts[matching]

    @cached_property
    def _verdicts(self) -> dict[Matching, Verdict]:
        if self.record["answer"] is None:
            return dict.fromkeys(MATCHINGS, Verdict(False, "failed"))
        truth = Truth.of(self.evaluation)
        return {matching: grade(matching, self.reply, self.record["answer"], truth) for matching in MATCHINGS}

    @property
    def meant(self) -> str:
        """What was answered, comparable between orders of the options: the option's text, or the reply's."""
        text = str(self.record["answer"] or "")
        choice = choice_of(text, self.evaluation.choices) if self.evaluation.choices else None
        return self.evaluation.choices[choice.place] if choice and choice.place is not None else text

    @property
    def region(self) -> Box | None:
        """The region named, SOURCE pixels."""
        return read_box(self.record["region"])

    @property
    def true_region(self) -> Box | None:
        return Box(*self.evaluation.region) if self.evaluation.region else None

    @property
    def source(self) -> Size | None:
        """Size of the picture."""
        views = [view for turn in self.turns for view in turn["views"]]
        return Size(*views[0]["source"]) if views else None

    def used(self, what: str) -> int | None:
        """Sum over turns of a usage figure; None where the backend could not tell."""
        figures = [turn["usage"][what] for turn in self.turns]
        return None if not figures or any(figure is None for figure in figures) else sum(figures)


@dataclass(frozen=True)
class Run:
    """One run folder. config: as asked. made_with: versions and commit. sessions: times it was worked on.

    expected: how many evaluations it was to have; None while it has not come to its end.
    """

    path: Path
    config: dict[str, Any]
    made_with: dict[str, Any]
    rows: tuple[ResultRow, ...]
    sessions: tuple[dict[str, Any], ...]
    expected: int | None

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names, in the order they were asked for."""
        return tuple(
            dict.fromkeys([*self.config.get("conditions", ()), *(row.evaluation.condition.name for row in self.rows)])
        )

    def under(self, condition: str) -> list[ResultRow]:
        return [row for row in self.rows if row.evaluation.condition.name == condition]


def read_run(path: Path) -> Run:
    """A run folder, finished or not."""
    config = read_config(path)
    complete = path / "complete.json"
    return Run(
        path=path,
        config=config["config"],
        made_with=config["made_with"],
        rows=tuple(ResultRow.of(row) for row in read_rows(path / "traces.jsonl").values()),
        sessions=tuple(read_sessions(path)),
        expected=int(json.loads(complete.read_text())["answers"]) if complete.is_file() else None,
    )
