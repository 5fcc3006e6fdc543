"""The nouns: frozen, checked when built, and free of files, frameworks and time.

Axis suffixes, used everywhere in the project:
N pool, Q query, M modality, C class, K draw (member of the head ensemble), D feature.
Ids (``*_ids``) cross seams, positions (``*_rows``) never do.
"""

from rlmba_pipelines.learning.types.ids import UserError, rows_of
from rlmba_pipelines.learning.types.rounds import UNLABELED, Action, PoolView, RoundState, Selection, rng_of
from rlmba_pipelines.learning.types.samples import Evidence, Features, Labels, Predictions, Terms

__all__ = [
    "UNLABELED",
    "Action",
    "Evidence",
    "Features",
    "Labels",
    "PoolView",
    "Predictions",
    "RoundState",
    "Selection",
    "Terms",
    "UserError",
    "rng_of",
    "rows_of",
]
