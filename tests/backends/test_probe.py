"""`ergo probe` against servers that misbehave in stated ways: each is named, with the flag that helps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from faulty import Fault, FaultyServer, Json, reply, status
from seeing import pictures_of, red_box

from ergo.backends import Model, open_backend
from ergo.backends.probe import Report, examine
from ergo.cli.main import main
from ergo.core.errors import BackendError
from ergo.core.geometry import Size
from ergo.families import FAMILIES

Write = Callable[[tuple[float, float, float, float], int, int], list[object]]


def pixels(box: tuple[float, float, float, float], width: int, height: int) -> list[object]:
    return [round(part * side) for part, side in zip(box, (width, height) * 2, strict=True)]


def thousandths(box: tuple[float, float, float, float], width: int, height: int) -> list[object]:
    return [round(1000 * part) for part in box]


def y_first(box: tuple[float, float, float, float], width: int, height: int) -> list[object]:
    x1, y1, x2, y2 = thousandths(box, width, height)
    return [y1, x1, y2, x2]


def fractions(box: tuple[float, float, float, float], width: int, height: int) -> list[object]:
    return [round(part, 3) for part in box]


def at_random(box: tuple[float, float, float, float], width: int, height: int) -> list[object]:
    return [7, 7, 60, 60]


class Sees:
    """A model that finds the rectangle. write: in its frame. most: tokens a picture is shrunk to before it looks."""

    def __init__(
        self, write: Write = pixels, *, most: int = 16384, cached: bool = True, count: float = 1.0,
        thinks: bool = False, pictures: int = 2, forced: bool = True, counts_as: str = "qwen2_5_vl",
    ) -> None:  # fmt: skip
        self.write, self.most, self.cached, self.count = write, most, cached, count
        self.thinks, self.pictures, self.forced = thinks, pictures, forced
        self.budget = FAMILIES[counts_as].token_budget(16384)

    def __call__(self, payload: Json) -> Json | Fault:
        shown = pictures_of(payload)
        if len(shown) > self.pictures:
            return status(400, json.dumps({"error": {"message": "At most 1 image(s) may be provided in one prompt"}}))
        costs = [self.budget.cost(self.budget.fit(Size(one.width, one.height))) for one in shown]
        tokens = [min(cost, self.most) for cost in costs]
        usage = {
            "prompt_tokens": 100 + round(sum(tokens) * self.count),
            "completion_tokens": 20,
            "prompt_tokens_details": {
                "cached_tokens": 100 + tokens[0] if self.cached and len(shown) > 1 else 0,
                "multimodal_tokens": {"image": round(sum(tokens) * self.count)},
            },
        }
        asked = json.dumps(payload["messages"][-1])
        if "the one word yes" in asked and not (self.forced and "structured_outputs" in payload):
            return reply("yes", usage=usage)
        [box] = [self.write(red_box(shown[0]), *shown[0].size)]
        thought = "It may be at [1, 2, 3, 4].\n</think>\n" if self.thinks else ""
        return reply(f"{thought}<zoom>{box}</zoom>", usage=usage)


@contextmanager
def served(sees: Callable[[Json], Json | Fault], family: str | None = None, **settings: object) -> Iterator[Model]:
    models = {"data": [{"id": "Qwen/Qwen2.5-VL-7B-Instruct", "object": "model", "owned_by": "vllm"}]}
    with FaultyServer(answer=sees, models=models) as server:
        yield open_backend(f"openai:{server.url}", family, **settings)


def test_a_server_that_does_as_it_should_needs_no_flag() -> None:
    with served(Sees()) as model:
        report = examine(model)
    assert report.frame == report.expected == "pixels of the view, x first"
    assert all(one.iou > 0.95 for one in report.sights)
    assert all(one.off is not None and one.off < 0.01 for one in report.sights)
    assert [one.ours == one.theirs for one in report.sights] == [True] * 4
    assert len({one.picture for one in report.sights}) == 4
    assert len({one.shown for one in report.sights}) == 4  # two sizes, two shapes
    assert (report.counts_agree, report.shrinks_above, report.second_look_cached) == (True, None, True)
    assert (report.thinks, report.takes_two_pictures, report.obeys_forced_region) == (False, True, None)
    assert report.problems == report.flags == ()
    assert "flags     none are needed" in str(report)


CASES: list[tuple[str, Sees, str | None, str, tuple[str, ...]]] = [
    ("frame", Sees(thousandths), None, "its boxes count 0..1000, x first, and not pixels of the view, x first",
     ("--family hosted",)),
    ("axes", Sees(y_first), "hosted", "its boxes count 0..1000, y first", ("--family gemma4",)),
    ("fractions", Sees(fractions), "hosted", "its boxes count 0..1, x first", ("--family kimi",)),
    ("shrinking", Sees(most=300), None, "shrinks pictures above 300 tokens", ("--budget 300",)),
    ("no cache", Sees(cached=False), None, "the second look finds nothing in the cache", ()),
    ("wrong count", Sees(count=1.5), None, "counts other vision tokens than we do", ()),
    ("another family", Sees(thousandths, counts_as="qwen3_vl"), "hosted", "as qwen3_vl, qwen3_5 do, and not as hosted",
     ("--family qwen3_vl",)),
    ("one picture", Sees(pictures=1), None, "takes one picture a conversation", ("--flow one_look",)),
    ("no frame", Sees(at_random), None, "right in no frame there is", ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sees", "family", "problem", "flags"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_a_server_that_misbehaves_is_told_in_which_way(
    sees: Sees, family: str | None, problem: str, flags: tuple[str, ...]
) -> None:
    with served(sees, family) as model:
        report = examine(model)
    assert [problem in said for said in report.problems] == [True], report.problems
    assert report.flags == flags
    assert problem in str(report)


def test_the_flags_it_names_mend_the_frame() -> None:
    with served(Sees(y_first), "gemma4") as model:
        assert examine(model).frame == "0..1000, y first"


def test_thinking_is_seen_and_not_taken_for_the_answer() -> None:
    with served(Sees(thousandths, thinks=True, counts_as="qwen3_5"), "qwen3_5") as model:
        report = examine(model)
    assert report.thinks
    assert report.frame == report.expected
    assert report.flags == ("""--extra-body '{"chat_template_kwargs": {"enable_thinking": false}}'""",)


@pytest.mark.parametrize("obeys", [True, False])
def test_a_forced_region_is_obeyed_or_not(obeys: bool) -> None:
    with served(Sees(forced=obeys), force_region=True) as model:
        report = examine(model, force_region=True)
    assert report.obeys_forced_region is obeys
    assert any("--force-region" in problem for problem in report.problems) is not obeys


def test_a_reply_that_never_came_to_a_region_says_nothing_of_the_force() -> None:
    thinking = Sees()

    def rambles(payload: Json) -> Json | Fault:
        forced = "structured_outputs" in payload and "the one word yes" in json.dumps(payload["messages"][-1])
        return reply("<think>on and on", "length") if forced else thinking(payload)

    with served(rambles, force_region=True) as model:
        assert examine(model, force_region=True).obeys_forced_region is None


def test_a_server_that_reports_no_tokens_leaves_that_open() -> None:
    def silent(payload: Json) -> Json:
        [first, *_] = pictures_of(payload)
        return reply(f"<zoom>{pixels(red_box(first), *first.size)}</zoom>")

    models = {"data": [{"id": "qwen2.5vl:7b"}]}
    with FaultyServer(answer=silent, models=models) as server:
        report = examine(open_backend(f"openai:{server.url}"))
    assert (report.counts_agree, report.shrinks_above, report.second_look_cached) == (None, None, None)
    assert report.problems == ()
    assert "cannot be determined" in str(report)


@pytest.mark.parametrize(("most", "shrinks"), [(16384, None), (300, 300)])
def test_the_length_of_the_prompt_tells_what_a_picture_costs_where_nothing_else_does(
    most: int, shrinks: int | None
) -> None:
    def terse(payload: Json) -> Json:
        shown = pictures_of(payload)
        tokens = sum(min(one.width * one.height // 784, most) for one in shown)
        return reply(f"<zoom>{pixels(red_box(shown[0]), *shown[0].size)}</zoom>", usage={"prompt_tokens": 70 + tokens})

    with FaultyServer(answer=terse, models={"data": [{"id": "qwen2.5vl:7b"}]}) as server:
        report = examine(open_backend(f"openai:{server.url}"))
    assert (report.counts_agree, report.shrinks_above) == (shrinks is None, shrinks)


def test_a_server_that_answers_nothing_is_its_error() -> None:
    with FaultyServer(answer=lambda payload: status(404), models={"data": [{"id": "qwen3-vl"}]}) as server:
        model = open_backend(f"openai:{server.url}", retries=0)
        with pytest.raises(BackendError):
            examine(model)


def test_a_real_checkpoint_of_random_weights_finds_nothing_and_reuses_its_first_look() -> None:
    tiny_models = pytest.importorskip("tiny_models", reason="runs a model in this process")
    backend = tiny_models.make_backend("qwen3_vl")
    report = examine(Model(backend, backend.family, backend.processor.patch, "random"), budget=100, max_tokens=12)
    assert report.frame is None
    assert [one.ours == one.theirs for one in report.sights] == [True] * 4
    assert (report.counts_agree, report.second_look_cached, report.takes_two_pictures) == (True, True, True)
    assert "right in no frame there is" in report.problems[0]


def test_the_command_asks_a_model_of_no_family_in_a_pinned_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer(answer=Sees(thousandths), models={"data": [{"id": "mine", "owned_by": "vllm"}]}) as server:
        assert main(["probe", "--model", f"openai:{server.url}", "--json"]) == 0
    printed = capsys.readouterr()
    assert "no family claims 'mine'" in printed.err
    seen = json.loads(printed.out)
    assert (seen["family"], seen["frame"], seen["problems"]) == ("hosted", "0..1000, x first", [])
    assert set(seen) == set(Report.__dataclass_fields__)


def test_the_command_says_by_its_status_that_something_needs_attention(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer(answer=Sees(thousandths), models={"data": [{"id": "qwen2.5vl:7b"}]}) as server:
        assert main(["probe", "--model", f"openai:{server.url}"]) == 1
    printed = capsys.readouterr().out
    assert "frame     0..1000, x first (the family's: pixels of the view, x first)" in printed
    assert "flags     --family hosted" in printed
