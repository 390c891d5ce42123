"""The provable log: every state change adds one line to its stream's chain, in the same transaction."""

from app.audit.chain import (
    PLATFORM,
    Break,
    institution_stream,
    newest,
    project_stream,
    record,
    record_each,
    streams,
    verify,
)

__all__ = [
    "PLATFORM",
    "Break",
    "institution_stream",
    "newest",
    "project_stream",
    "record",
    "record_each",
    "streams",
    "verify",
]
