"""The shape of a region in the notations that servers take, to force one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ergo.core.messages import Expected


@dataclass(frozen=True)
class RegionShape:
    """<zoom>[n, n, n, n]</zoom>, perhaps after a thought; bounded, so that it always ends.

    regex: of the whole reply; zoom: of the region alone. grammar: the whole in llama.cpp's own notation (GBNF).
    """

    regex: str
    zoom: str
    grammar: str

    @classmethod
    def of(cls, number: str, number_rule: str) -> RegionShape:
        """Of regions whose numbers look so, as a regular expression and as the body of a GBNF rule."""
        zoom = rf"<zoom>\[{number}(, {number}){{3}}\]</zoom>"
        grammar = rf"""
root ::= thought? "<zoom>[" number ", " number ", " number ", " number "]</zoom>"
thought ::= "<think>" [^<]{{1,1000}} "</think>" [ \n]?
number ::= {number_rule}
"""
        return cls(rf"(<think>[^<]{{1,1000}}</think>[ \n]?)?{zoom}", zoom, grammar)


SHAPES: Mapping[Expected, RegionShape] = {
    "region": RegionShape.of("[0-9]{1,4}", "[0-9]{1,4}"),
    "fractions": RegionShape.of(r"(0(\.[0-9]{1,3})?|1(\.0{1,3})?)", '"0" ("." [0-9]{1,3})? | "1" ("." "0"{1,3})?'),
}
"""By what a family's numbers count: pixels or thousandths, or the sides themselves (Kimi)."""
