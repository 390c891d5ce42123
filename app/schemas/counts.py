"""What may be counted: people of one published version who meet all conditions; the answer is masked."""

from __future__ import annotations

from pydantic import Field

from app.schemas.dictionary import Model
from app.schemas.plan import Condition, digest


class CountQuestion(Model):
    """How many consenting people of this version meet all of these conditions?"""

    version_id: str = Field(pattern=r"^ver_[0-9a-z]{26}$")
    conditions: tuple[Condition, ...] = Field(default=(), max_length=20)


def question_hash(question: CountQuestion) -> str:
    """The same for questions that mean the same: the order of conditions and of their values does not matter."""
    conditions = [{**c.model_dump(mode="json"), "values": sorted(set(c.values))} for c in question.conditions]
    return digest([question.version_id, sorted(map(digest, conditions))])
