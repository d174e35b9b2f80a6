"""Model families by name: how each is asked, and in which frame it answers."""

from __future__ import annotations

from ergo.core.errors import UsageError
from ergo.families import ergo_tiny, qwen2_5_vl, qwen3_vl
from ergo.families.base import ModelFamily

QWEN2_5_VL = qwen2_5_vl.FAMILY
QWEN3_VL = qwen3_vl.FAMILY
ERGO_TINY = ergo_tiny.FAMILY
FAMILIES = {family.name: family for family in (QWEN2_5_VL, QWEN3_VL, ERGO_TINY)}


def family_named(name: str) -> ModelFamily:
    """The dialect of this name, as flags and checkpoints write it."""
    if name not in FAMILIES:
        raise UsageError(f"no dialect is called {name!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[name]
