"""The ledger: who is in which extract, and the marks that close an extract when one of them leaves."""

from app.ledger.entries import enter, extracts_holding, extracts_holding_any, extracts_holding_each, members
from app.ledger.marks import WITHDREW, leaving, lift, mark, mark_each, open_marks, settle

__all__ = [
    "WITHDREW", "enter", "extracts_holding", "extracts_holding_any", "extracts_holding_each", "leaving", "lift", "mark",
    "mark_each", "members", "open_marks", "settle",
]  # fmt: skip
