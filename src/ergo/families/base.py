"""What a model family is: how it is asked, in which frame it answers, and what a picture costs it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ergo.core.errors import UsageError
from ergo.core.flows import Flow, Question
from ergo.core.geometry import FULL, Box, TokenBudget
from ergo.core.messages import Chat, Expected, Message
from ergo.core.reading import AnswerReading, Reading, Region
from ergo.core.view import View
from ergo.families import forms, replies
from ergo.families.caution import cautious
from ergo.families.forms import Frame
from ergo.families.prompts import Prompts
from ergo.families.sizing import Held


@dataclass(frozen=True)
class ModelFamily:
    """One model family.

    frame: of what its coordinates count. patch: side in pixels of what one vision token sees, where the
        checkpoint does not say. budget: vision tokens of a look unless asked otherwise.
    min_tokens, max_tokens: what its own processor makes of the smallest and the largest picture.
    y_first: its lists of four are y1, x1, y2, x2. sizing: the rule of its processor.
    max_reply: most output tokens of a reply, where a longer one would be a loop.
    model_types: of checkpoints, `model_type` in config.json. served: patterns of whole names, as
        `families.plain_name` leaves them; a name that none matches is no family's.
    knows: one line on what it knows, for a model that knows little: answers it is not sure of then become "I cannot
        tell" (`caution.cautious`), with this line; empty for a model that is asked about anything.
    sure: least probability of any token of an answer that it is believed to know.
    no_thinking: body fields of a request that switch its thinking off, as JSON; empty where it does not
        think or cannot be switched.
    several_pictures: whether one question may be about several pictures at once.
    spells: it answers in the words of an option, in capitals and letter by letter where they are no token; in this
        process it is held to the options (`options_in`), or to "cannot tell".
    """

    name: str
    prompts: Prompts
    frame: Frame
    patch: int
    budget: int
    min_tokens: int = 4
    max_tokens: int = FULL
    y_first: bool = False
    sizing: type[TokenBudget] = Held
    model_types: tuple[str, ...] = ()
    served: tuple[str, ...] = ()
    no_thinking: str = ""
    knows: str = ""
    sure: float = 0.15
    max_reply: int | None = None
    several_pictures: bool = True
    spells: bool = False

    def token_budget(self, tokens: int, patch: int | None = None) -> TokenBudget:
        """At most `tokens` vision tokens a look, by this family's rule. patch: what the checkpoint says."""
        if tokens < self.min_tokens:
            raise UsageError(
                f"{self.name} shows no picture in fewer than {self.min_tokens} vision tokens: "
                f"--budget {self.min_tokens} or more, not {tokens}"
            )
        return self.sizing(min(tokens, self.max_tokens), self.min_tokens, patch or self.patch, self.max_tokens)

    @property
    def expects(self) -> Expected:
        """The shape of a reply that names a region, for backends that force one."""
        return "fractions" if self.frame == "fractions" else "region"

    # ── asking ─────────────────────────────────────────────────────────────────────────────────
    def ask_region(self, coarse: View, question: str) -> Chat:
        """The first look: the coarse view and the question without options (paper's protocol)."""
        return self._open(coarse, self.prompts.region.format(question=question))

    def ask_answer(self, reply: str, close: View, question: str, choices: tuple[str, ...]) -> Chat:
        """What the second look adds to the conversation: the reply so far, the close view, the options."""
        text = self.prompts.answer.format(question=with_choices(question, choices))
        return (Message("assistant", (reply,)), Message("user", (close, text)))

    def ask_direct(self, view: View, question: str, choices: tuple[str, ...]) -> Chat:
        """One look, no region: the baseline, and the verifier's view of a crop."""
        text = self.prompts.direct.format(question=with_choices(question, choices))
        return (Message("user", (view, text)),)

    def ask_look(self, coarse: View, question: str, choices: tuple[str, ...]) -> Chat:
        """The first of as many looks as needed: answer, or name regions."""
        shown = question if self.prompts.options_last else with_choices(question, choices)
        return self._open(coarse, self._filled(self.prompts.look, shown))

    def ask_again(self, reply: str, close: tuple[View, ...], question: Question, looks_left: int) -> Chat:
        """What another look adds: the reply so far, the views it asked for, and whether it may look once more."""
        shown = with_choices(question.text, question.choices) if self.prompts.options_last else question.text
        text = self._filled(self.prompts.again if looks_left else self.prompts.last, shown)
        return (Message("assistant", (reply,)), Message("user", (*close, text)))

    def _filled(self, template: str, question: str) -> str:
        return template.format(question=question, form=self.prompts.form, space=self.prompts.space)

    def _open(self, view: View, text: str) -> Chat:
        user = Message("user", (view, text))
        return (Message("system", (self.prompts.system,)), user) if self.prompts.system else (user,)

    def careful(self, flow: Flow) -> Flow:
        """The flow for a person who asks: held to what this family knows."""
        return cautious(flow, self.knows, self.sure) if self.knows else flow

    def options_in(self, chat: Chat) -> list[str]:
        """The options that replies are to be held to; none for a family that does not spell."""
        return OPTION.findall(chat[-1].text) if self.spells else []

    # ── reading ────────────────────────────────────────────────────────────────────────────────
    def write_region(self, box: Box, view: View) -> str:
        """A region as this family says it of `view`; inverse of `read_region` up to rounding."""
        return forms.write_region(box, view, self.frame, self.y_first)

    def read(self, reply: str, view: View) -> Reading:
        """What a reply says of `view`."""
        region, boxes = forms.read_regions(reply, view, self.frame, self.y_first)
        answer, how = replies.read_answer(reply)
        answers = how in ("exact", "repaired_tag") or (how == "no_tag" and region.reading == "none_given")
        return Reading(region, boxes, answers, answer, how, replies.split_thought(reply)[0])

    def read_region(self, reply: str, view: View) -> Region:
        """The last region of a reply that can be read, in SOURCE pixels, or why none can."""
        return forms.read_regions(reply, view, self.frame, self.y_first)[0]

    def read_answer(self, reply: str) -> tuple[str, AnswerReading]:
        """The text of the last <answer>; without tags the whole reply after its thinking."""
        return replies.read_answer(reply)

    def read_thought(self, reply: str) -> str:
        """What stands before the last closing tag of a thought, or in an unclosed one."""
        return replies.split_thought(reply)[0]


def with_choices(question: str, choices: tuple[str, ...]) -> str:
    """The question with lettered options, one a line, as the released V* protocol prints them."""
    if not choices:
        return question
    lines = [f"({chr(65 + number)}) {choice}" for number, choice in enumerate(choices)]
    return "\n".join([question, *lines])


OPTION = re.compile(r"^\([A-Z]\) (.+)$", re.M)
"""An option as `with_choices` prints it."""
