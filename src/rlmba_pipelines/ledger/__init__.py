"""What was bought: the append-only label ledger."""

from rlmba_pipelines.ledger.ledger import (
    ABSTAINED,
    ADJUDICATOR,
    ASIDE,
    COLUMNS,
    DISPUTED,
    NONE_OF_THESE,
    NOT_LABELS,
    WITHDRAWN,
    Ledger,
)

__all__ = [
    "ABSTAINED",
    "ADJUDICATOR",
    "ASIDE",
    "COLUMNS",
    "DISPUTED",
    "NONE_OF_THESE",
    "NOT_LABELS",
    "WITHDRAWN",
    "Ledger",
]
