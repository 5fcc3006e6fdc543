"""Pictures of one size and one format."""

from __future__ import annotations

import io

import resvg_py
from PIL import Image


def render(art: str | bytes, side: int, quality: int) -> bytes:
    """Draw SVG text or the bytes of a picture on white, in a square of ``side`` pixels, as lossy WebP."""
    if isinstance(art, bytes):
        png = art
    else:
        # without a resolution, resvg_py gives lengths in points or millimeters no size at all
        png = bytes(resvg_py.svg_to_bytes(svg_string=art, width=2 * side, dpi=96, skip_system_fonts=True))
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    file = io.BytesIO()
    canvas.convert("RGB").save(file, "WEBP", quality=quality, method=6)
    return file.getvalue()
