"""Which parameters an endpoint takes, and under which names: known from its profile, or learned from a refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ergo.backends.openai.profiles import Profile
from ergo.core.messages import Sampling

TokenLimit = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True)
class Wording:
    """How requests to one endpoint are worded.

    left_out: parameters not sent. refused: those that the server has refused, under the name it was sent.
    detail, picture_id: fields beside a picture, where they are sent at all. logprobs: whether they are asked for.
    """

    token_limit: TokenLimit = "max_tokens"
    left_out: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    detail: str | None = None
    picture_id: Literal["uuid", "content_hash"] | None = None
    logprobs: bool = False

    @classmethod
    def of(cls, profile: Profile, detail: str | None, picture_ids: bool) -> Wording:
        """As the profile knows it. detail: as the user wants it. picture_ids: whether pictures are named."""
        return cls(
            profile.token_limit,
            profile.left_out,
            detail=detail or profile.detail,
            picture_id=profile.picture_id if picture_ids else None,
            logprobs=profile.logprobs,
        )

    def parameters(self, sampling: Sampling) -> dict[str, object]:
        """`sampling` in this endpoint's words."""
        said: dict[str, object] = {
            self.token_limit: sampling.max_tokens,
            # sent even where they are OpenAI's defaults: vLLM's own come from the checkpoint's generation_config.json
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "logprobs": self.logprobs or None,
            "response_format": json.loads(sampling.response_format) if sampling.response_format else None,
        }
        # a top_p below 1 was asked for: it is sent until the server itself refuses it
        left_out = self.refused if sampling.top_p < 1 else self.refused | self.left_out
        return {name: value for name, value in said.items() if value is not None and name not in left_out}

    def without(self, name: str) -> Wording | None:
        """After a refusal of `name`: renamed where it has another name, else left out; None where neither helps."""
        refused = self.refused | {name}
        if name == self.token_limit:  # never left out: replies would have no limit
            other: TokenLimit = "max_tokens" if name == "max_completion_tokens" else "max_completion_tokens"
            return None if other in refused else replace(self, token_limit=other, refused=refused)
        if name == "detail":
            return replace(self, detail=None, refused=refused)
        if name in ("uuid", "content_hash"):
            return replace(self, picture_id=None, refused=refused)
        return replace(self, refused=refused)


# the most dispensable first: "temperature and top_p cannot both be specified" names two
DROPPABLE = ("logprobs", "top_p", "seed", "stop", "stream_options", "detail", "uuid", "content_hash", "temperature")
REFUSAL = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|cannot find field"
    r"|cannot both|only one of|only the default|extra (inputs?|fields?)|extra_forbidden|deprecated|not available",
    re.IGNORECASE,
)
"""What tells "I do not take this" from "this value is out of range", which stays the user's to mend."""


def refused_parameter(words: str, stated: str | None, sent: Iterable[str]) -> str | None:
    """Which of the parameters `sent` a refusal is about; None where it is about something else.

    stated: what the error's own `param` says.

    >>> refused_parameter("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.", None, ["max_tokens"])
    'max_tokens'
    >>> refused_parameter("temperature must be at most 1", "temperature", ["temperature"]) is None
    True
    """
    if not REFUSAL.search(words):
        return None
    names = [name for name in (*DROPPABLE, "max_tokens", "max_completion_tokens") if name in set(sent)]
    if stated is not None and stated.rsplit(".", 1)[-1] in names:
        return stated.rsplit(".", 1)[-1]
    return next((name for name in names if re.search(rf"\b{name}\b", words)), None)
