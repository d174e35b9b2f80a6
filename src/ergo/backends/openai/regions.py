"""The shape of a region in the notations that servers take, to force one."""

ZOOM_REGEX = r"<zoom>\[[0-9]{1,4}(, [0-9]{1,4}){3}\]</zoom>"
REGION_REGEX = rf"(<think>[^<]{{1,1000}}</think>[ \n]?)?{ZOOM_REGEX}"
"""A region as every family writes it, perhaps after a thought; bounded, so that it always ends."""

REGION_GRAMMAR = r"""
root ::= thought? "<zoom>[" number ", " number ", " number ", " number "]</zoom>"
thought ::= "<think>" [^<]{1,1000} "</think>" [ \n]?
number ::= [0-9]{1,4}
"""
"""REGION_REGEX in llama.cpp's own notation (GBNF)."""
