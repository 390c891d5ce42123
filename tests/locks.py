"""In which order transactions lock rows: who locks two tables in one order and two in another can stop each other."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, event, inspect
from sqlalchemy.orm import ORMExecuteState, Session


@dataclass
class Order:
    """Table -> the tables that some transaction locked after it, each with the place where it did."""

    after: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, held: list[str], table: str, place: str) -> None:
        """`table` was locked while these were held."""
        for one in held:
            if one != table:
                self.after.setdefault(one, {}).setdefault(table, place)

    def against(self, agreed: Sequence[str]) -> list[str]:
        """Where a table was locked after one that comes later in the agreed order, or one that the order does not
        know."""
        place = {table: n for n, table in enumerate(agreed)}
        return [
            f"{one} then {other} at {where}"
            for one, others in sorted(self.after.items())
            for other, where in sorted(others.items())
            if place.get(one, len(place)) >= place.get(other, -1)
        ]


@contextmanager
def recorded() -> Iterator[Order]:
    """Every SELECT ... FOR UPDATE of this process goes into the order, on either database: SQLite leaves the words out
    of its SQL, not out of the statement."""
    order = Order()

    def note(state: ORMExecuteState) -> None:
        if getattr(state.statement, "_for_update_arg", None) is None:
            return
        held: list[str] = state.session.info.setdefault("locked", [])
        for table in _tables(state.statement):
            if table not in held:  # what is held already is not waited for
                order.add(held, table, _place())
                held.append(table)

    def ended(session: Session, _transaction: Any) -> None:
        if not session.in_nested_transaction():
            session.info.pop("locked", None)

    event.listen(Session, "do_orm_execute", note)
    event.listen(Session, "after_transaction_end", ended)
    try:
        yield order
    finally:
        event.remove(Session, "do_orm_execute", note)
        event.remove(Session, "after_transaction_end", ended)


def _tables(statement: Any) -> list[str]:
    return [found.name for found in statement.get_final_froms() for found in _leaves(found)]


def _leaves(found: Any) -> Iterator[Table]:
    if isinstance(found, Table):
        yield found
    elif hasattr(found, "left"):
        yield from _leaves(found.left)
        yield from _leaves(found.right)
    else:
        table = getattr(inspect(found, raiseerr=False), "local_table", None)
        if table is not None:
            yield table


def _place() -> str:
    """Where in the service the lock was taken."""
    frames = [
        f for f in traceback.extract_stack() if "/app/" in f.filename and not f.filename.endswith("app/db.py")
    ]
    return f"{frames[-1].filename.rpartition('/app/')[2]}:{frames[-1].lineno}" if frames else "a test"
