"""One palette for pictures and page, light and dark.

Figures are drawn in the light colors. Each is one of a kind, so that in an SVG it can be swapped for a CSS variable
and follow the theme of the page. Hues are told apart with protan, deutan and tritan vision, text on its surface has a
contrast of 4.5:1 or more, and no meaning is carried by color alone; tests measure both.
"""

from __future__ import annotations

LIGHT = {
    "page": "#f5f6f8",
    "surface": "#ffffff",
    "raised": "#f0f3f6",
    "paper": "#eef2f5",
    "ink": "#17212b",
    "muted": "#53606d",
    "line": "#d9dee4",
    "grid": "#e7eaee",
    "strategy": "#0b62a8",
    "reference": "#636c78",
    "image": "#842000",
    "text": "#08757f",
    "audio": "#5f23b0",
    "video": "#7e6f00",
    "other": "#454f5b",
    "on-fill": "#fffffe",
    "good": "#17693a",
    "bad": "#a8301c",
}
DARK = {
    "page": "#0e1318",
    "surface": "#161d24",
    "raised": "#1e2730",
    "paper": "#d3dae1",
    "ink": "#e9eef3",
    "muted": "#a6b2be",
    "line": "#303b46",
    "grid": "#27313b",
    "strategy": "#62b3f4",
    "reference": "#a9b4c0",
    "image": "#fb7d3c",
    "text": "#5cd9e2",
    "audio": "#c68aff",
    "video": "#f0e294",
    "other": "#c5ced8",
    "on-fill": "#0e1319",
    "good": "#66d391",
    "bad": "#ff9384",
}


def of_modality(modality: str) -> str:
    """Palette name of a modality; one that has no color of its own gets ``other``.

    >>> of_modality("audio"), of_modality("lidar")
    ('audio', 'other')
    """
    return modality if modality in ("image", "text", "audio", "video") else "other"
