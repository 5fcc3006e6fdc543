"""Decides, round by round, which multimodal samples are worth labeling, and shows why.

``rlmba_pipelines.select`` is every strategy without the pipelines; it is loaded when first asked for, and brings no
Kedro with it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlmba_pipelines.learning.door import select

__all__ = ["select"]


def __getattr__(name: str) -> Any:
    if name == "select":
        from rlmba_pipelines.learning.door import select

        return select
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
