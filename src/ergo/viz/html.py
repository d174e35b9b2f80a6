"""Pages from templates: Jinja2 with every text escaped, one stylesheet, nothing fetched from elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ergo.images.encode import data_uri
from ergo.viz.palette import DARK, LIGHT


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ergo.viz"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["data_uri"] = data_uri
    return environment


def render(template: str, **context: Any) -> str:
    """A page from `viz/templates`, with the stylesheet as `style`, and its palette alone as `colours`."""
    palettes = {"light": asdict(LIGHT), "dark": asdict(DARK)}
    css = {name: Markup(_environment().get_template(f"{name}.css").render(palettes)) for name in ("style", "colours")}
    return _environment().get_template(template).render(css, **context)
