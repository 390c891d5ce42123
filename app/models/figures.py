"""What the public is shown of the way to the million, and was shown on each day before: it moves daily, in batches."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class ShownFigures(Base):
    """One row a figure. `people` holds the exact numbers behind what is shown, by institution; `basis` says of when
    they are, so that they are counted again only when the day has turned. What was counted for a figure, before it was
    held in batches, is a row of its own: the daily monitor holds one against the other."""

    __tablename__ = "shown_figures"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    basis: Mapped[str] = mapped_column(String(64))
    people: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class DailyFigures(Base):
    """What was shown on one day, as in `ShownFigures`; never altered once the day has a figure."""

    __tablename__ = "daily_figures"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    people: Mapped[dict[str, Any]]
    at: Mapped[datetime]
