"""Qwen3.5, 3.6 and 3.8: Qwen3-VL's frame and sizes in a model that thinks unless a template field says not to."""

from dataclasses import replace

from ergo.families import qwen3_vl

FAMILY = replace(
    qwen3_vl.FAMILY,
    name="qwen3_5",
    model_types=("qwen3_5", "qwen3_5_moe", "qwen4_exp"),
    served=(r"qwen3\.[568](-\d+b(-a\d+b)?|-flash(-next)?|-plus)?(-(instruct|thinking))?(-\d{4}-\d{2}-\d{2})?",),
    no_thinking='{"chat_template_kwargs": {"enable_thinking": false}}',
)
