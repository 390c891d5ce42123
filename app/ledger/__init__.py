"""The ledger: who is in which extract, and the marks that close an extract when one of them leaves."""

from app.ledger.entries import enter, extracts_holding, extracts_holding_any, members
from app.ledger.marks import lift, mark, open_marks, settle

__all__ = [
    "enter", "extracts_holding", "extracts_holding_any", "lift", "mark", "members", "open_marks", "settle",
]  # fmt: skip
