"""What was bought: the append-only label ledger."""

from rlmba_pipelines.ledger.ledger import COLUMNS, Ledger

__all__ = ["COLUMNS", "Ledger"]
