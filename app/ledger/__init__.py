"""The ledger: who is in which extract, and the marks that close an extract when one of them leaves."""

from app.ledger.entries import enter, extracts_holding, members
from app.ledger.marks import mark, open_marks, settle

__all__ = ["enter", "extracts_holding", "mark", "members", "open_marks", "settle"]
