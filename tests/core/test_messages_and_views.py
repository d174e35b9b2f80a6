"""What passes between a flow and a model: sampling within its bounds, whole text, views and their frame."""

from __future__ import annotations

import threading

import pytest
from PIL import Image

from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError, PictureError, UsageError
from ergo.core.flows import LookConfig, Question, crop_only
from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.messages import Sampling, whole_text
from ergo.core.runner import drive
from ergo.core.view import View
from ergo.families import QWEN2_5_VL
from ergo.images.picture import Picture

PICTURE = Picture(Image.new("RGB", (1000, 800)))


@pytest.mark.parametrize(
    ("name", "low", "high", "below", "above"),
    [("temperature", 0.0, 100.0, -0.01, 100.5), ("top_p", 1e-9, 1.0, 0.0, 1.01)],
)
def test_sampling_values_have_bounds(name: str, low: float, high: float, below: float, above: float) -> None:
    for value in (low, high):
        assert getattr(Sampling(**{name: value}), name) == pytest.approx(value)  # type: ignore[arg-type]
    for value in (below, above):
        with pytest.raises(UsageError):
            Sampling(**{name: value})  # type: ignore[arg-type]


def test_one_value_out_of_bounds_is_enough() -> None:
    for wrong in ({"seed": 2**63}, {"stop": ("",)}, {"max_tokens": 0}, {"temperature": float("nan")}):
        with pytest.raises(UsageError):
            Sampling(**wrong)  # type: ignore[arg-type]


def test_half_a_surrogate_pair_becomes_a_mark_and_everything_else_stays() -> None:
    assert whole_text("a\ud800b") == "a\ufffdb"
    assert whole_text("\U0001f600 é 字") == "\U0001f600 é 字"
    assert whole_text("plain") == "plain"


def test_a_crop_is_asked_about_with_the_options_and_the_sampling() -> None:
    backend = ScriptedBackend(["<answer>B</answer>"])
    sampling = Sampling(max_tokens=7, seed=3)
    config = LookConfig(QWEN2_5_VL, TokenBudget(64), TokenBudget(32), sampling)
    question = Question("Which colour?", ("red", "blue"))
    trace = drive((None, lambda: crop_only(PICTURE, question, config, Box(10, 20, 310, 220))), backend)
    [request] = backend.requests
    assert request.sampling == sampling
    assert "(B) blue" in request.chat[-1].text
    assert trace.answer is not None
    assert trace.answer.region == Box(10, 20, 310, 220)


def test_a_box_too_thin_for_the_grid_is_the_pixel_its_middle_lies_in() -> None:
    view = View.of(PICTURE, TokenBudget(16), Box(100, 200, 110, 210))  # ten source pixels, enlarged
    scale = view.size.width / 10
    assert view.to_source(3.2 * scale, 4.2 * scale, 3.4 * scale, 4.4 * scale) == Box(103, 204, 104, 205)
    edge = view.size.width - 0.01
    assert view.to_source(edge, edge, view.size.width, view.size.height) == Box(109, 209, 110, 210)


def test_from_source_counts_from_the_views_own_corner() -> None:
    view = View.of(PICTURE, TokenBudget(64), Box(100, 200, 500, 600))
    across, down = view.size.width / 400, view.size.height / 400
    expected = (100 * across, 50 * down, 200 * across, 150 * down)
    assert view.from_source(Box(200, 250, 300, 350)) == pytest.approx(expected)


def test_failures_have_names_for_counting() -> None:
    with pytest.raises(PictureError) as outside:
        View.of(PICTURE, TokenBudget(64), Box(2000, 2000, 2100, 2100))
    assert outside.value.kind == "outside"
    error = BackendError("no")
    assert (error.kind, error.retryable) == ("backend", False)


def test_a_direct_look_costs_what_the_family_shows_at_most_not_what_this_budget_allows() -> None:
    large = Size(8000, 6000)
    assert TokenBudget(100).direct_cost(large) == TokenBudget(1000).direct_cost(large) > 10_000


def test_views_are_made_side_by_side() -> None:
    """A `cached_property` of Python 3.11 would hold one lock for all of them."""
    both = threading.Barrier(2, timeout=10)

    class Slow:
        """A picture whose parts come once two are wanted."""

        name, lazy, size = "slow", True, Size(280, 280)

        def part(self, box: Box, size: Size, fast: bool = False) -> Image.Image:
            both.wait()
            return Image.new("RGB", (size.width, size.height))

        def read_size(self, box: Box, size: Size) -> Size:
            return self.size

    made: list[View] = []
    threads = [threading.Thread(target=lambda: made.append(View.of(Slow(), TokenBudget(28, 4, 100)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    assert made[0].pixels is made[0].pixels
