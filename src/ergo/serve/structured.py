"""`response_format`: the final answer as JSON, filled in here from what was found, or left to a model that can be held to it.

A schema whose properties are all among FIELDS is filled in here, by any model: its words are the answer, its options
(an `enum`) those that the question offers. Every other schema goes to the endpoint with the last question, and what
comes back is checked; a model in this process cannot be held to one, and such a request is refused by name.
`json_object` has no schema: it is the model's own object where it wrote one, else FIELDS.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ergo.core.errors import UsageError
from ergo.core.runner import Trace
from ergo.grading import choice_of
from ergo.traces.answers import confidence

FIELDS: Mapping[str, frozenset[str]] = {
    "answer": frozenset(("string", "integer", "number", "boolean")),
    "choice": frozenset(("string", "null")),
    "region": frozenset(("array", "null")),
    "regions": frozenset(("array",)),
    "confidence": frozenset(("number", "null")),
}
"""What can be filled in, and as which types.

answer: the answer's text, or the number, or the yes or no, that it is. choice: the option it names.
region: [left, top, right, bottom] in pixels of the upright picture; regions: all of them.
confidence: of the answer, where the model reports probabilities (`ergo.traces.answers`).
"""

MAX_OPTIONS = 26  # there are letters for no more
NOTES = frozenset(("title", "description", "default", "examples", "$schema", "$id", "$comment"))
TRUE, FALSE = frozenset(("yes", "true", "y", "correct")), frozenset(("no", "false", "n", "incorrect"))


class Unfit(Exception):
    """The answer cannot be written in the form that was asked for."""


@dataclass(frozen=True)
class AnswerFormat:
    """What the final answer is written as.

    types: of each property that is filled in here; None where only an endpoint can be held to it.
    required: names that an answer must have. options: those that the schema offers; closed: the answer is one of them.
    sent: the request's own words, for an endpoint. schema: in them; empty where any object will do.
    """

    types: Mapping[str, frozenset[str]] | None
    required: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    closed: bool = False
    sent: str = ""
    schema: str = ""

    @classmethod
    def read(cls, value: Any, at: str = "response_format") -> AnswerFormat | None:
        """What a request asks for, as chat completions have it; None for text. Raises UsageError."""
        kind = value.get("type") if isinstance(value, dict) else None
        if value is None or (kind == "text" and len(value) == 1):
            return None
        if kind == "json_object" and len(value) == 1:
            return cls({**FIELDS, "answer": frozenset(("string",))}, sent=json.dumps(value))
        asked = value.get("json_schema") if kind == "json_schema" else None
        schema = asked.get("schema") if isinstance(asked, dict) else None
        if not isinstance(schema, dict) or not isinstance(asked.get("name"), str):  # type: ignore[union-attr]
            raise UsageError(
                f"{at} is {{'type': 'text'}}, {{'type': 'json_object'}}, or "
                "{'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}"
            )
        strange = [*(set(value) - {"type", "json_schema"}), *(set(asked) - {"name", "schema", "strict", "description"})]  # type: ignore[arg-type]
        if strange:
            raise UsageError(f"{at}: {strange[0][:100]} is not honoured here; leave it out")
        required = schema.get("required", [])
        if schema.get("type") != "object" or not isinstance(required, list) or not all(map(_is_text, required)):
            raise UsageError(f"{at}: the schema is of an object, and `required` lists names")
        types = _fillable(schema)
        offered = {name: _enum(schema["properties"].get(name, {})) for name in ("choice", "answer")} if types else {}
        options = next(filter(None, offered.values()), ())
        if len(options) > MAX_OPTIONS:
            raise UsageError(f"{at}: an enum of {len(options):,} options; at most {MAX_OPTIONS} are offered")
        return cls(types, tuple(required), options, bool(offered.get("answer")), json.dumps(value), json.dumps(schema))

    @property
    def for_the_model(self) -> str:
        """What an endpoint is sent; empty where the answer is filled in here."""
        return self.sent if self.types is None or not self.schema else ""

    def write(self, trace: Trace, options: Sequence[str]) -> str:
        """The answer of a trace in this form; Unfit where it has none."""
        text = trace.answer.text if trace.answer else ""
        own = _object_in(text)
        if self.types is None or (not self.schema and own is not None):
            if trace.turns[-1].finish == "length":  # as OpenAI's: cut, and said to be
                return text
            missing = [name for name in self.required if name not in (own or {})]
            if own is None or missing:
                lacks = f"it lacks {missing[0]!r}" if own is not None else "it is no JSON object"
                raise Unfit(f"the model did not answer in the form of response_format: {lacks}")
            return json.dumps(own, ensure_ascii=False)
        found = self._found(trace, options or self.options)
        return json.dumps({name: found[name](types) for name, types in self.types.items()}, ensure_ascii=False)

    def _found(self, trace: Trace, options: Sequence[str]) -> dict[str, Any]:
        """For each field, how it is written as one of the types that the schema allows."""
        answer = trace.answer
        assert answer
        place = choice_of(answer.text, tuple(options)).place if options else None
        named = options[place] if place is not None else None
        boxes = [list(box.corners) for box in answer.regions]
        last = [view for turn in trace.turns for view in turn.views][-1:]
        shown = [list(view.box.corners) for view in last]  # where no region was read, the whole picture was looked at

        def said(types: frozenset[str]) -> Any:
            if self.closed and named is None:
                raise Unfit(f"the answer {answer.text[:200]!r} is none of the options")
            return named if self.closed else _as(answer.text, types)

        def chosen(types: frozenset[str]) -> Any:
            if named is None and "null" not in types:
                raise Unfit(f"the answer {answer.text[:200]!r} names none of the options")
            return named

        def region(types: frozenset[str]) -> Any:
            if "null" not in types and not boxes + shown:
                raise Unfit("there is no picture, and so no region")
            return boxes[-1] if boxes else None if "null" in types else shown[-1]

        def sure(types: frozenset[str]) -> Any:
            share = confidence(trace)
            if share is None and "null" not in types:
                raise Unfit("this model reports no probabilities: let confidence be null")
            return share

        return {
            "answer": said,
            "choice": chosen,
            "region": region,
            "regions": lambda _: boxes,
            "confidence": sure,
        }


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _fillable(schema: Mapping[str, Any]) -> Mapping[str, frozenset[str]] | None:
    """The types of each property, where all of them are FIELDS of types that are had; else None."""
    properties = schema.get("properties")
    rest = set(schema) - NOTES - {"type", "properties", "required", "additionalProperties"}
    if rest or not isinstance(properties, dict) or not properties or set(schema.get("required", ())) - set(properties):
        return None
    found = {name: _types(one) & FIELDS.get(name, frozenset()) for name, one in properties.items()}
    return found if all(found.values()) and all(_plain(*one) for one in properties.items()) else None


def _types(schema: Any) -> frozenset[str]:
    """The JSON types that a property may have."""
    if not isinstance(schema, dict):
        return frozenset()
    stated, alternatives = schema.get("type", []), schema.get("anyOf", [])
    own = frozenset(one for one in (stated if isinstance(stated, list) else [stated]) if isinstance(one, str))
    return own.union(*map(_types, alternatives if isinstance(alternatives, list) else ()))


def _plain(name: str, schema: Mapping[str, Any]) -> bool:
    """Whether nothing is asked of a property that what is filled in might not keep."""
    kept = {"type", "anyOf", *NOTES, *(("items", "minItems", "maxItems", "prefixItems") if "region" in name else ())}
    kept |= {"enum"} if name in ("answer", "choice") else {"minimum", "maximum"} if name == "confidence" else set()
    alternatives, options = schema.get("anyOf", []), schema.get("enum", [])
    lists = isinstance(options, list) and isinstance(alternatives, list)
    texts = lists and all(isinstance(one, str) or one is None for one in options)
    count = 4 if name == "region" else 0  # of a list of regions none is promised, and any number may come
    bounds = (("minimum", 0, -1), ("maximum", 1, 1), ("minItems", count, -1), ("maxItems", count or math.inf, 1))
    wide = all(_reaches(schema.get(key, kept_to), kept_to, side) for key, kept_to, side in bounds)
    return (
        texts
        and wide
        and not set(schema) - kept
        and all(isinstance(one, dict) and _plain(name, one) for one in alternatives)
    )


def _reaches(bound: object, value: float, side: int) -> bool:
    """Whether a bound below (side -1) or above (1) lets `value` through."""
    return isinstance(bound, int | float) and side * bound >= side * value


def _enum(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The options that a property offers."""
    found = [one for part in (schema, *schema.get("anyOf", ())) for one in part.get("enum", ())]
    return tuple(one for one in found if one is not None)


def _as(text: str, types: frozenset[str]) -> Any:
    """The answer as the first of these types that it is."""
    word = text.strip().strip(".").replace(",", "")
    if "boolean" in types and word.lower() in TRUE | FALSE:
        return word.lower() in TRUE
    for name, read in (("integer", int), ("number", float)):
        if name in types:
            try:
                number = read(word)
            except ValueError:
                continue
            if math.isfinite(number):
                return number
    if "string" in types:
        return text
    raise Unfit(f"the answer {text[:200]!r} is no {' or '.join(sorted(types))}")


def _object_in(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, in a fence or not."""
    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
