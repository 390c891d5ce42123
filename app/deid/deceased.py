"""Whether someone who has died may be in what a plan releases; pure.

Source of the rule: guidelines under the Bioethics and Safety Act ask that identifiers and family codes of deceased
persons are removed before data are given on, for their families live. Stated as a policy; it is no advice.
"""

from __future__ import annotations

from typing import Literal

from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

Policy = Literal["withheld", "without_family", "as_consented"]
_TELLS = frozenset({"family_id", "handle"})


def may_be_in(policy: Policy, plan: Plan, dictionary: Dictionary) -> bool:
    """Whether the deceased are in a release of this plan.

    `withheld`: never. `without_family`: only where it releases no family code, no handle of a genome, image or
    specimen, and no table that joins relatives. `as_consented`: like everyone else.
    """
    return policy == "as_consented" or (
        policy == "without_family" and not _tells_of_relatives(plan, dictionary)
    )


def _tells_of_relatives(plan: Plan, dictionary: Dictionary) -> bool:
    for planned in plan.tables:
        table = dictionary.table(planned.name)
        if table.kind == "link":
            return True
        # By the dictionary's columns: a plan also names reasons of missing values, which are no columns of it.
        telling = {column.name for column in table.fields if column.role.kind in _TELLS}
        if any(one.name in telling and one.transform != "drop" for one in planned.columns):
            return True
    return False
