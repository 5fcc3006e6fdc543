"""Random: the yardstick that every strategy has to beat.

Concept  every candidate is as likely as any other.
Source   none needed.
Stated   a uniform draw without repeats.
Chosen   the same; rows are sorted by id before the draw, so their order does not matter.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection


@register(
    "random",
    requires=(),
    cost="O(N)",
    reference="simple random sampling without replacement",
    idea="Every candidate is as likely as any other.",
    formula="u(x) ~ Uniform[0, 1)",
    when="Always, beside everything else: what does not beat it is not worth its cost.",
    deterministic=False,
)
def random(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Uniform without replacement: the top of one uniform draw [0, 1) a sample, which is also its utility."""
    return top_k(view, rng.random(len(view.sample_ids)), query_size)
