"""What the public was last shown of the way to the million, so that it moves in batches."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class ShownFigures(Base):
    """One row a figure. `people` holds the exact numbers behind what is shown, by institution; `basis` is the digest of
    what they were counted from, so that they are counted again only when that has moved."""

    __tablename__ = "shown_figures"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    basis: Mapped[str] = mapped_column(String(64))
    people: Mapped[dict[str, Any]]
    at: Mapped[datetime]
