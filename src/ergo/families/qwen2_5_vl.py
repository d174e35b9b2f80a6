"""Qwen2.5-VL and ERGO-7B: boxes count pixels of the resized view."""

from ergo.families.base import PUBLISHED, ModelFamily

FAMILY = ModelFamily("qwen2_5_vl", PUBLISHED, "pixels", 28, 640)
