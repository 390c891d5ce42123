"""What the bodies of the API share: strict objects, lines and paragraphs of text, days, pages."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
NamedLine = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$")]
Paragraph = Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]
Note = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]*$")]
# JSON has no dates: text is read, whatever the strictness of the object around it.
Day = Annotated[date, Field(strict=False)]
Moment = Annotated[
    AwareDatetime,
    Field(strict=False, ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(2999, 12, 31, tzinfo=UTC)),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

T = TypeVar("T")


class Body(BaseModel):
    """What is sent: nothing unknown, nothing coerced."""

    model_config = ConfigDict(extra="forbid", strict=True)


class View(BaseModel):
    """What is answered."""

    model_config = ConfigDict(extra="forbid")


class PageOf(View, Generic[T]):
    """One page; `next_cursor` is null on the last."""

    items: list[T]
    next_cursor: str | None


Free = dict[str, Any]
