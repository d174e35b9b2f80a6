"""Qwen3-VL: boxes count thousandths of the view's sides, a token sees 32 x 32 pixels."""

from ergo.families.base import PUBLISHED, ModelFamily

FAMILY = ModelFamily("qwen3_vl", PUBLISHED, "thousandths", 32, 640)
