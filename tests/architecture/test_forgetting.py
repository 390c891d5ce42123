"""Every column that speaks of a participant is decided on: forgotten when the person is destroyed, or kept and why."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table

from app.consents.forgetting import FORGOTTEN, KEPT
from app.models import Base


def speaking(metadata: MetaData) -> Iterator[str]:
    """`table.column` of all columns of tables that are of one participant a row, and of every column that names one."""
    for table in metadata.tables.values():
        names = [c for c in table.columns if c.name == "participant_key" or leads_to_participants(c)]
        whole = table.name == "participants" or any(c.foreign_keys for c in names)
        for column in table.columns if whole else names:
            yield f"{table.name}.{column.name}"


def leads_to_participants(column: Column[Any]) -> bool:
    return any(key.target_fullname.startswith("participants.") for key in column.foreign_keys)


def undecided(metadata: MetaData) -> list[str]:
    said = FORGOTTEN.keys() | KEPT.keys()
    return sorted(c for c in speaking(metadata) if c not in said and f"{c.partition('.')[0]}.*" not in said)


def test_of_every_column_about_a_participant_it_is_said_what_becomes_of_it():
    assert undecided(Base.metadata) == []


def test_every_column_that_is_decided_on_is_there():
    columns = {f"{t.name}.{c.name}" for t in Base.metadata.tables.values() for c in t.columns}
    known = columns | {f"{t}.*" for t in Base.metadata.tables}
    assert (FORGOTTEN.keys() | KEPT.keys()) - known == set()


def test_a_new_column_and_a_new_table_are_found():
    metadata = MetaData()
    for table in Base.metadata.sorted_tables:
        table.to_metadata(metadata)
    metadata.tables["participants"].append_column(Column("shoe_size", Integer))
    Table("letters", metadata, Column("who", ForeignKey("participants.key")), Column("text", Integer))
    assert undecided(metadata) == ["letters.text", "letters.who", "participants.shoe_size"]
