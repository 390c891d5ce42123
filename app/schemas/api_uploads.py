"""What the API says of an upload."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class UploadView(BaseModel):
    """An upload: `length` and `received` in bytes; `report` says why it was not accepted, never with values."""

    model_config = ConfigDict(extra="forbid")

    id: str
    purpose: Literal["table", "consents"]
    version: str | None
    cohort: str
    table: str | None
    mode: Literal["replace", "append", "patch"] = "replace"
    partition: dict[str, str] | None = None
    length: int
    received: int
    state: Literal[
        "open", "receiving", "complete", "checking", "accepted", "quarantined", "rejected", "expired"
    ]
    sha256: str | None
    report: dict[str, Any] | None
    held_up: dict[str, Any] | None = Field(
        default=None,
        description="Of a check that was stopped until the operator has looked: a problem document.",
    )
    original: Literal["kept", "removed"]
    created_at: datetime
    expires_at: datetime
