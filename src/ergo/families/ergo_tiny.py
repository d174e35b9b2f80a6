"""ergo-tiny: terse prompts, for reading the published ones would cost it more than looking."""

from ergo.families.base import TERSE, ModelFamily

FAMILY = ModelFamily("ergo_tiny", TERSE, "thousandths", 28, 100)
