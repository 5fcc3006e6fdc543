"""A matplotlib figure as SVG that lives inside a page: themed, deterministic, without a word to the outside."""

from __future__ import annotations

import io
import re

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from rlmba_pipelines.reporting.palette import LIGHT


def themed_svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as inline ``<svg>``: palette colors become CSS variables, text stays text in the page's font.

    Args:
        name: unique in the page; prefixes every id.
        description: what the picture shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "svg.id": None}):
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    body = drawing[drawing.index(">") + 1 :]
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)  # it would style the whole page
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    for color, value in LIGHT.items():
        body = body.replace(value, f"var(--{color})")
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    opening = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description)}">'
    return Markup(opening + body.strip())  # matplotlib escapes text, the rest is ours
