"""What a view costs is what the family's own processor in transformers makes of it: 2,000 sizes each."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable

import pytest

from ergo.core.errors import UsageError
from ergo.core.geometry import Size
from ergo.families import FAMILIES

Cost = Callable[[Size], int]
MODELS = "transformers.models."


def processor(module: str, name: str) -> type:
    loaded = pytest.importorskip(MODELS + module, reason="compares with transformers, which is not installed")
    return getattr(loaded, name)  # type: ignore[no-any-return]


def qwen(patch: int, least: int) -> Cost:
    resize = processor("qwen2_vl.image_processing_pil_qwen2_vl", "smart_resize")

    def cost(size: Size) -> int:
        height, width = resize(size.height, size.width, patch, least * patch * patch, 16384 * patch * patch)
        return height * width // patch**2

    return cost


def glm4v() -> Cost:
    loaded = importlib.import_module(MODELS + "glm4v.image_processing_pil_glm4v")
    limits = loaded.Glm4vImageProcessorPil.size

    def cost(size: Size) -> int:
        height, width = loaded.smart_resize(
            2, size.height, size.width, min_pixels=limits["shortest_edge"], max_pixels=limits["longest_edge"]
        )
        return height * width // 28**2

    return cost


def glm5_next() -> Cost:
    resize = source_function("glm5_next/image_processing_glm5_next.py", "smart_resize")
    return lambda size: (lambda sides: sides[0] * sides[1] // 28**2)(resize(2, size.height, size.width))


def gemma4() -> Cost:
    fill = processor("gemma4.image_processing_pil_gemma4", "get_aspect_ratio_preserving_size")
    return lambda size: (lambda sides: sides[0] * sides[1] // 48**2)(fill(size.height, size.width, 16, 280 * 9, 3))


def kimi() -> Cost:
    resize = source_function("kimi_k25/image_processing_kimi_k25.py", "navit_resize")

    def cost(size: Size) -> int:
        _, (height, width) = resize(size.height, size.width, 14, 2, 16384, 512)
        return height * width // 28**2

    return cost


def internvl() -> Cost:
    one = processor("got_ocr2.image_processing_pil_got_ocr2", "GotOcr2ImageProcessorPil")(
        crop_to_patches=True, size={"height": 448, "width": 448}
    )
    wanted = {"crop_to_patches": True, "patch_size": {"height": 448, "width": 448}}
    return lambda size: 256 * one.get_number_of_image_patches(size.height, size.width, wanted)


def minicpmv() -> Cost:
    one = processor("minicpmv4_6.image_processing_pil_minicpmv4_6", "MiniCPMV4_6ImageProcessorPil")()

    def cost(size: Size) -> int:
        given, rules = (size.height, size.width), {"scale_resolution": 448, "patch_size": 14, "downsample_mode": "16x"}
        grid = one.get_sliced_grid(given, 9, 448)
        height, width = one.find_best_resize(given, **rules, allow_upscale=grid is None)
        tokens = height * width // 56**2
        if grid is not None:
            high, wide = one.get_refine_size(given, grid, **rules, allow_upscale=True)
            tokens += grid[0] * grid[1] * ((high // grid[0]) * (wide // grid[1]) // 56**2)
        return tokens

    return cost


def source_function(path: str, name: str) -> Callable[..., tuple[object, ...]]:
    """A function of a module of transformers that cannot be imported without torchvision, from its source."""
    import ast
    import math
    from pathlib import Path

    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    file = Path(transformers.__file__).parent / "models" / path
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    found: dict[str, object] = {"math": math}
    exec(compile(tree, str(file), "exec"), found)
    return found[name]  # type: ignore[return-value]


COSTS: dict[str, Callable[[], Cost]] = {
    "qwen2_vl": lambda: qwen(28, 4), "qwen2_5_vl": lambda: qwen(28, 4), "ergo_tiny": lambda: qwen(28, 4), "ergo_photo": lambda: qwen(28, 28),
    "qwen3_vl": lambda: qwen(32, 64), "qwen3_5": lambda: qwen(32, 64), "glm4v": glm4v, "glm5_next": glm5_next,
    "gemma4": gemma4, "kimi": kimi, "internvl": internvl, "minicpmv": minicpmv,
}  # fmt: skip


def sizes(count: int) -> list[Size]:
    """A third small crops, a third photographs, a third of any shape down to slivers."""
    generator = random.Random(5)

    def side(low: float, high: float) -> int:
        return round(10 ** generator.uniform(low, high))

    ranges = [(0.7, 2.5), (2.5, 3.9), (0.3, 4.3)]
    return [Size(side(*ranges[number % 3]), side(*ranges[number % 3])) for number in range(count)]


@pytest.mark.parametrize("name", COSTS)
def test_a_view_costs_what_the_processor_makes_of_it(name: str) -> None:
    family, cost, compared = FAMILIES[name], COSTS[name](), 0
    generator = random.Random(6)
    for size in sizes(2_400):
        tokens = family.budget if name == "gemma4" else generator.randint(family.min_tokens, 2 * family.budget)
        budget = family.token_budget(tokens)
        shown = budget.fit(size)
        assert budget.cost(shown) <= tokens, (size, shown)
        assert max(shown.width, shown.height) <= 200 * min(shown.width, shown.height), (size, shown)
        assert budget.cost(shown) == cost(shown), (size, shown, tokens)
        compared += 1
    assert compared == 2_400


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("qwen2_5_vl", Size(100, 80), 12),
        ("qwen3_vl", Size(100, 80), 72),  # 6 by size alone
        ("qwen3_vl", Size(200, 150), 70),
        ("glm4v", Size(30, 30), 9),
        ("glm5_next", Size(30, 30), 16),
        ("gemma4", Size(100, 80), 18 * 14),
        ("kimi", Size(100, 80), 12),
        ("kimi", Size(1, 1), 1),
        ("internvl", Size(100, 80), 256),
        ("internvl", Size(4000, 3000), 5 * 256),
        ("minicpmv", Size(100, 80), 63),
    ],
)
def test_what_a_crop_costs(name: str, size: Size, tokens: int) -> None:
    budget = FAMILIES[name].token_budget(FAMILIES[name].budget)
    assert budget.cost(budget.fit(size)) == tokens


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].min_tokens > 1])
def test_a_budget_below_the_familys_least_is_refused_with_the_number(name: str) -> None:
    family = FAMILIES[name]
    assert family.token_budget(family.min_tokens).max_tokens == family.min_tokens
    with pytest.raises(UsageError, match=f"--budget {family.min_tokens} or more"):
        family.token_budget(family.min_tokens - 1)


def test_a_budget_above_the_familys_most_is_its_most() -> None:
    assert FAMILIES["glm4v"].token_budget(16384).max_tokens == 7500
    assert FAMILIES["qwen3_vl"].token_budget(16384).max_tokens == 16384


def test_the_checkpoints_patch_is_used_where_it_has_one() -> None:
    assert FAMILIES["qwen2_5_vl"].token_budget(640, patch=32).patch == 32
    assert FAMILIES["qwen2_5_vl"].token_budget(640).patch == 28


@pytest.mark.parametrize("name", FAMILIES)
def test_a_direct_look_costs_the_familys_most_at_most(name: str) -> None:
    family = FAMILIES[name]
    direct = family.token_budget(family.budget).direct_cost(Size(9000, 7000))
    assert family.max_tokens * 0.7 < direct <= family.max_tokens
