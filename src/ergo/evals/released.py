"""How the released code sizes a picture, overshoot included (nota-github/ERGO src/ergo/utils.py @ c6d6742, smart_resize).

Only `--released-sizes` uses it: everywhere else the budget is never exceeded.
"""

from __future__ import annotations

import math

from ergo.core.geometry import Size, TokenBudget


class Released(TokenBudget):
    """Sides are rounded to patches where Qwen's own processor floors them.

    >>> budget = Released(640, 4, 28)
    >>> budget.cost(budget.fit(Size(3840, 2160)))
    646
    """

    __slots__ = ()

    def fit(self, size: Size) -> Size:
        patch = self.patch
        columns, rows = (max(1, round(side / patch)) for side in (size.width, size.height))
        if columns * rows > self.max_tokens:
            shrink = math.sqrt(size.height * size.width / (self.max_tokens * patch * patch))
            columns, rows = (max(1, round(side / shrink / patch)) for side in (size.width, size.height))
        elif columns * rows < self.min_tokens:
            grow = math.sqrt(self.min_tokens * patch * patch / (size.height * size.width))
            columns, rows = (math.ceil(side * grow / patch) for side in (size.width, size.height))
        return Size(columns * patch, rows * patch)
