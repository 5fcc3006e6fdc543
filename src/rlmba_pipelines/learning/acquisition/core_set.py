"""Core-set: cover the fused embedding with balls as small as possible.

Concept  the batch for which the sample farthest from every labeled one is as near as can be (k-center).
Source   Sener & Savarese 2018 (arXiv 1708.00489).
Stated   greedy farthest-first traversal from the labeled set; a mixed-integer program refines it.
Chosen   the greedy traversal alone, in the fused embedding.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.k_center import k_center
from rlmba_pipelines.learning.types import PoolView, Selection


@register(
    "core_set",
    requires=("embedding",),
    cost="O(N L D), then a few rows a pick",
    reference="Sener & Savarese 2018, arXiv 1708.00489",
    idea="Ask for the sample farthest from everything labeled or already chosen.",
    formula="argmax_x min over labeled and chosen of ‖z − z′‖",
    when="When rare corners of the pool matter more than accuracy per label; outliers draw it.",
    deterministic=True,
)
def core_set(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Greedy k-center on the fused embedding; utility is the distance to the nearest labeled or chosen sample."""
    assert view.predictions is not None
    return k_center(view, view.predictions.embedding_ND, query_size)
