"""A SELECT that is asked at every request: put into SQL once, and then asked by the driver's own cursor.

SQLAlchemy takes five to ten times what the driver does to run a statement, each time anew. It still writes the SQL, for
either database, and its types still turn what goes in and comes out. Not for what writes or locks rows.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Turn = Callable[[Any], Any]


class Question:
    """A statement whose `bindparam`s are what is asked for. Its rows are named tuples."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._forms: dict[str, _Form] = {}

    def all(self, connection: Connection, **values: Any) -> list[Any]:
        """Every row, as of when it is asked: in the transaction of the connection, where it is in one.

        `values`: one for each bindparam, all of them; ValueError otherwise. What the driver refuses is raised as
        SQLAlchemy would, without a value.
        """
        dialect = connection.dialect
        form = self._forms.get(dialect.name) or self._put(dialect)
        asked, cursor = form.filled(values), None
        try:
            cursor = connection.connection.cursor()
            cursor.execute(form.sql, asked)
            rows = cursor.fetchall()
        except dialect.loaded_dbapi.Error as error:
            raise _told(error, form.sql, connection, cursor) from error
        finally:
            if cursor is not None:
                cursor.close()
        return form.turned(rows)

    def first(self, connection: Connection, **values: Any) -> Any | None:
        """The first row; None where there is none."""
        rows = self.all(connection, **values)
        return rows[0] if rows else None

    def _put(self, dialect: Dialect) -> _Form:
        form = self._forms[dialect.name] = _form(self._statement, dialect)
        return form


@dataclass(frozen=True)
class _Form:
    """A question in the words of one database."""

    sql: str
    asked: frozenset[str]
    binds: Sequence[
        tuple[str, Any, Turn | None]
    ]  # name, its value where the statement has one, how it goes in
    positional: bool
    row: Callable[[Any], Any]
    turns: Sequence[tuple[int, Turn]]  # of the columns that do not come out as they are

    def filled(self, values: Mapping[str, Any]) -> Any:
        if values.keys() != self.asked:
            raise ValueError(f"a question is asked with {', '.join(sorted(self.asked))}")
        told = [
            (name, turn(value) if turn else value)
            for name, fixed, turn in self.binds
            for value in (values.get(name, fixed),)
        ]
        return tuple([value for _, value in told]) if self.positional else dict(told)

    def turned(self, rows: Sequence[Any]) -> list[Any]:
        if not self.turns:
            return list(map(self.row, rows))
        found = []
        for row in rows:
            cells = list(row)
            for i, turn in self.turns:
                cells[i] = turn(cells[i])
            found.append(self.row(cells))
        return found


def _form(statement: Select[*tuple[Any, ...]], dialect: Dialect) -> _Form:
    put = statement.compile(dialect=dialect)
    if not isinstance(put, SQLCompiler) or put.post_compile_params or put.literal_execute_params:
        raise ValueError("what is spelled out anew at each execution is no question")
    columns = list(statement.selected_columns)
    row: Any = namedtuple("row", [str(column.key) for column in columns], rename=True)  # type: ignore[misc]
    fixed, named = put.params, {name: bind for bind, name in put.bind_names.items()}
    binds = [
        (name, fixed[name], named[name].type.dialect_impl(dialect).bind_processor(dialect))
        for name in (named if put.positiontup is None else put.positiontup)
    ]
    turns = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    return _Form(
        str(put),
        frozenset(name for name, bind in named.items() if bind.required),
        binds,
        put.positiontup is not None,
        row._make,
        [(i, turn) for i, turn in enumerate(turns) if turn],
    )


def _told(error: Exception, sql: str, connection: Connection, cursor: DBAPICursor | None) -> BaseException:
    """What SQLAlchemy raises for it; a connection that is lost is given up."""
    dialect = connection.dialect
    lost = dialect.is_disconnect(error, connection.connection, cursor)  # type: ignore[arg-type]
    if lost:
        connection.invalidate(error)
    return DBAPIError.instance(
        sql,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=dialect,
    )
