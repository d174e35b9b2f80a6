"""ergo-tiny: terse prompts, for reading the published ones would cost it more than looking."""

from ergo.families.base import ModelFamily
from ergo.families.prompts import TERSE

FAMILY = ModelFamily("ergo_tiny", TERSE, "thousandths", 28, 100, served=("ergo-tiny(-cold)?",))
