"""GLM-5.3: its processor rounds UP and pads right and bottom, so views are sent at whole tokens and never padded.

Held by tests/families/test_sizing.py.
"""

from dataclasses import replace

from ergo.families import glm4v

FAMILY = replace(
    glm4v.FAMILY,
    name="glm5_next",
    min_tokens=16,
    max_tokens=8000,
    model_types=("glm5_next",),
    served=(r"glm-5\.3(-flash)?",),
)
