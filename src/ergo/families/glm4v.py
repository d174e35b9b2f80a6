"""GLM-4.1V to 4.6V: regions and answers stand between <|begin_of_box|> and <|end_of_box|>, which are no part of them.

Held by the table of reply forms (tests/families/test_forms.py).
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import THOUSANDTHS, XYXY, pinned

FAMILY = ModelFamily(
    "glm4v",
    pinned(XYXY, THOUSANDTHS),
    "thousandths",
    patch=28,
    budget=640,
    min_tokens=8,
    max_tokens=7500,
    model_types=("glm4v", "glm4v_moe", "glm46v"),
    served=(r"glm-4\.1v(-9b)?(-(thinking|base))?", r"glm-4\.[56]v(-(flash|flashx|air))?"),
    no_thinking='{"chat_template_kwargs": {"enable_thinking": false}}',
)
