"""Numbers of dry runs move in batches: what differs is counted in people over all domains; others count too."""

import base64

from pyroaring import BitMap

from app.requests.batches import differing, may_repeat, packed


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
    def told(*others: str):
        return {"people": 1, "risk": {"intersections": [{"other": one, "people": 4} for one in others]}}

    assert may_repeat(told("a"), told("a"))
    assert not may_repeat(told("a"), told("a", "b"))
    assert may_repeat({"people": 1}, {"people": 2})
