"""Flows that only a server has: text alone, several pictures at once, and what a client's limits are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ergo.core.errors import UsageError
from ergo.core.flows import Answer, Flow, LookConfig, Question
from ergo.core.messages import Chat, Message, Request, Sampling
from ergo.core.view import SourcePicture, View
from ergo.families.base import ModelFamily


@dataclass(frozen=True)
class Held:
    """What replies are held to. answer: the last one's sampling; look_tokens: most tokens of one that names a region.

    response_format: of the last reply, as an endpoint takes it. schema: in it, told to the model in words as well.
    """

    answer: Sampling
    look_tokens: int
    response_format: str = ""
    schema: str = ""

    def of(self, flow: Flow) -> Flow:
        """The flow, its requests held to this."""
        request = next(flow)
        while True:
            reply = yield self._held(request)
            try:
                request = flow.send(reply)
            except StopIteration as stop:
                answer: Answer = stop.value
                return answer

    def _held(self, request: Request) -> Request:
        if request.expect != "text":
            return replace(request, sampling=replace(request.sampling, max_tokens=self.look_tokens))
        if not self.response_format:
            return request
        sampling, last = replace(request.sampling, response_format=self.response_format), request.chat[-1]
        if self.schema:
            words = f"\nGive the final answer as JSON alone, without tags, that fits this schema: {self.schema}"
            last = replace(last, parts=(*last.parts, words))
        return replace(request, chat=(*request.chat[:-1], last), sampling=sampling)


def passed_through(chat: Chat, family: ModelFamily, sampling: Sampling) -> Flow:
    """Text alone: one turn, the conversation as it is."""
    reply = yield Request(chat, sampling)
    return Answer(*family.read_answer(reply.text))


def together(pictures: Sequence[SourcePicture], question: Question, config: LookConfig) -> Flow:
    """Several pictures in one look, which share its budget, then the answer."""
    share = config.coarse.max_tokens // len(pictures)
    if share < config.coarse.min_tokens:
        least = len(pictures) * config.coarse.min_tokens
        raise UsageError(f"{len(pictures)} pictures share the budget of one look: at least {least} tokens")
    views = [View.of(picture, replace(config.coarse, max_tokens=share)) for picture in pictures]
    *before, last = config.family.ask_direct(views[-1], question.text, question.choices)
    asked = Message(last.role, (*views[:-1], *last.parts))
    reply = yield Request((*before, asked), config.sampling)
    read = config.family.read(reply.text, views[-1])
    return Answer(read.answer, read.answer_reading)
