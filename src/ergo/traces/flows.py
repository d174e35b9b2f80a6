"""Flows by their names, as users, recipes and run folders write them."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from ergo.core.errors import UsageError
from ergo.core.flows import Flow, LookConfig, Question, as_needed, coarse_to_fine, crop_only, one_look
from ergo.core.geometry import Box, TokenBudget
from ergo.core.view import SourcePicture

FLOWS: dict[str, Callable[..., Flow]] = {f.__name__: f for f in (coarse_to_fine, one_look, crop_only, as_needed)}


def check_flow(name: str) -> str:
    """The name of a flow; UsageError for any other."""
    if name not in FLOWS:
        raise UsageError(f"no flow is called {name!r}; there are {', '.join(FLOWS)}")
    return name


def start_flow(name: str, picture: SourcePicture, question: Question, config: LookConfig, region: Box | None) -> Flow:
    """The flow of this name, ready to be driven. region: for crop_only, SOURCE pixels."""
    if check_flow(name) != "crop_only":
        return FLOWS[name](picture, question, config)
    if not region or not region.clamped(picture.size):
        raise UsageError(f"crop_only needs a region inside the picture ({picture.size})")
    return crop_only(picture, question, config, region)


def one_look_at(tokens: int, picture: SourcePicture, question: Question, config: LookConfig) -> Flow:
    """`one_look` that spends at most `tokens` vision tokens, and as near to them as the family sizes pictures."""
    given = config.coarse

    def budget(most: int) -> TokenBudget:
        return replace(given, max_tokens=max(given.min_tokens, min(most, given.limit)))

    def cost(most: int) -> int:
        return budget(most).cost(budget(most).fit(picture.size))

    budgets = range(tokens, 2 * tokens)  # sizes are rounded down to whole patches: a row and a column fewer
    nearest = budgets[max(0, bisect_right(budgets, tokens, key=cost) - 1)]
    return one_look(picture, question, replace(config, coarse=budget(nearest)))
