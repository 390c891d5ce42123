"""Numbers of dry runs move in batches: what differs is counted in people over all domains; others count too."""

import base64
from collections.abc import Sequence
from typing import Any

from pyroaring import BitMap

from app.requests.batches import differing, laid_against, may_repeat, packed


def over(**domains: list[int]) -> bytes:
    return packed(
        {name: base64.b64encode(BitMap(keys).serialize()).decode() for name, keys in domains.items()}
    )


def test_a_person_counts_once_however_many_domains_differ():
    before = over(clinical=[1, 2, 3], lifelog=[1, 2])
    assert differing(before, before) == 0
    assert differing(before, over(clinical=[2, 3], lifelog=[2])) == 1
    assert differing(before, over(clinical=[2, 3], lifelog=[1])) == 2
    assert differing(before, over(clinical=[1, 2, 3, 4], lifelog=[1, 2], public=[5])) == 2
    assert differing(before, over(clinical=[1, 2, 3])) == 2


def test_numbers_that_were_laid_on_other_releases_are_not_repeated():
    assert may_repeat(told("a"), told("a"))
    assert not may_repeat(told("a"), told("a", "b"))
    assert not may_repeat(told("a", "b"), told("a"))
    assert may_repeat({"people": 1}, {"people": 2})


def test_a_release_that_is_being_built_anew_is_known_from_before():
    """Somebody left it a moment ago: new numbers, told in just that moment, would be the difference."""
    assert may_repeat(told("a", "b"), told("a", unread=["b"]))
    assert may_repeat(told("a", unread=["b"]), told("a", unread=["b"]))
    assert not may_repeat(told("a", unread=["b"]), told("a", "b"))
    assert not may_repeat(told("a"), told("a", unread=["b"]))
    assert laid_against(told("a", unread=["b"])) == {"a", "b"}
    assert laid_against(None) == set()


def test_numbers_that_were_measured_otherwise_are_not_repeated():
    one, other = ({"people": 1, "risk": {"profile": f"baekman-risk/{n}"}} for n in (1, 2))
    assert may_repeat(other, other)
    assert not may_repeat(one, other)
    assert not may_repeat({"people": 1}, other)


def told(*others: str, unread: Sequence[str] = ()) -> dict[str, Any]:
    met = [{"other": one, "people": 4} for one in others]
    return {"people": 1, "risk": {"intersections": met, "not_compared": list(unread)}}
