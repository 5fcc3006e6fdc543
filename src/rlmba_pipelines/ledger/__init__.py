"""What was bought: the append-only label ledger."""

from rlmba_pipelines.ledger.labels import (
    ABSTAINED,
    ABSTAINING,
    DISPUTED,
    NONE_OF_THESE,
    NOT_LABELS,
    WITHDRAWN,
    canonical_label,
    fault_of_class,
    is_writable,
    spellings,
)
from rlmba_pipelines.ledger.ledger import ADJUDICATOR, ASIDE, COLUMNS, Ledger

__all__ = [
    "ABSTAINED",
    "ABSTAINING",
    "ADJUDICATOR",
    "ASIDE",
    "COLUMNS",
    "DISPUTED",
    "NONE_OF_THESE",
    "NOT_LABELS",
    "WITHDRAWN",
    "Ledger",
    "canonical_label",
    "fault_of_class",
    "is_writable",
    "spellings",
]
