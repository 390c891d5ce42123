"""What a column's cells mean together: which shapes are identifiers here, which are doubtful, which are chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.deid.identifiers import patterns as p
from app.deid.identifiers.headings import said_by
from app.deid.identifiers.scan import CORPORATE, Seen
from app.schemas.dictionary import Column

OWN_NUMBERING = frozenset({"participant_id", "record_id", "family_id", "provider_id", "handle"})
_OPAQUE = OWN_NUMBERING | {"linkage_token"}
# One random number of thirteen digits in 27 begins with a date that exists; real resident numbers all do.
_CHANCE = 0.2
_HALF, _MOST, _FEW = 0.5, 0.9, 10
_NAMES = ("full_name", "short_name", "masked_name", "wide_name")


@dataclass
class Verdict:
    """Kinds of identifier found, with the marks of the cells that hold them; and kinds that may be chance."""

    hits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    doubts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def marks(self) -> tuple[str, ...]:
        """The marks of every hit."""
        return tuple(dict.fromkeys(mark for marks in self.hits.values() for mark in marks))


def bare_is_hit(column: Column, bare: int, long: int) -> bool:
    """Whether digits without a mark are resident numbers.

    In a column of values any one is. In one of ids or codes, which never leave as they are and are often long numbers
    of the institution's own, they are when more of them begin with a date than chance gives.
    """
    if column.role.kind in OWN_NUMBERING or column.role.kind == "code":
        return bare > 0 and bare >= _CHANCE * long
    return bare > 0


def judge(column: Column, seen: Seen, *, of_people: bool = True) -> Verdict:
    """The verdict on a column. `of_people` is false for a reference table, where names and numbers are of no person."""
    verdict = Verdict()
    rules = [*_certain(column, seen), *_residents(column, seen), *_floats(seen), *_cards(column, seen)]
    if column.role.kind not in _OPAQUE:
        told = [
            *_records(column, seen),
            *_names(column, seen),
            *_places(seen),
            *_coordinates(column, seen),
            *_by_name(column, seen),
        ]
        rules += (
            told
            if of_people
            else [(kind, marks, False) for kind, marks, _ in told if kind != "record_number"]
        )
    for kind, marks, sure in rules:
        held = tuple(mark for mark in marks if seen.cells.get(mark, 0) or seen.strays.get(mark, 0))
        if held:
            side = verdict.hits if sure else verdict.doubts
            side[kind] = tuple(dict.fromkeys((*side.get(kind, ()), *held)))
    for kind in verdict.hits:
        verdict.doubts.pop(kind, None)
    return verdict


def _cards(column: Column, seen: Seen) -> Rules:
    # By chance one number in ten that begins as cards do passes the check digit, one in forty of any.
    cards = seen.count("card")
    sure = cards > 0 and cards >= _CHANCE * seen.count("card", "card_like")
    yield "payment_card", ("card",), sure or seen.strays.get("card", 0) > 0
    if said_by(column.name) == "payment_card":
        yield (
            "payment_card",
            ("card", "card_like", "serial", "long"),
            seen.share("card", "card_like", "serial") >= _HALF,
        )


def _coordinates(column: Column, seen: Seen) -> Rules:
    yield "coordinates", ("pair",), seen.share("pair") >= _HALF and seen.distinct.get("pair", 0) >= _FEW
    if said_by(column.name) == "coordinates":
        many = seen.share("coordinate", "pair") >= _HALF and seen.distinct.get("coordinate", 0) >= _FEW
        yield "coordinates", ("coordinate", "pair"), many


def _floats(seen: Seen) -> Rules:
    floats = seen.count("bare_float")
    yield "resident_number", ("bare_float",), floats >= _CHANCE * seen.count("bare_float", "long_float")


Rules = Iterator[tuple[str, tuple[str, ...], bool]]


def _certain(column: Column, seen: Seen) -> Rules:
    own = column.role.kind in _OPAQUE
    for kind in (*p.CONNECTING, *p.PATTERNS):
        if kind in ("passport_number", "driver_licence", "insurance_number") and own:
            continue  # an institution's own numbering may have any shape
        if kind != "resident_number":
            yield kind, (kind,), True
    numbered = own or column.role.kind == "code"
    sure = seen.share("bare_mobile") >= _HALF if numbered else True
    yield "phone_number", ("bare_mobile",), sure
    if not own:
        yield "passport_number", ("old_passport",), column.role.kind != "code"
    yield from _whole_phones(column, seen)


def _whole_phones(column: Column, seen: Seen) -> Rules:
    mobiles, old = seen.count("mobile_number"), seen.count("old_mobile_number")
    every = mobiles + old + seen.count("long_number", "lost_zeros")
    # Old numbers alone may be seconds since 1970: beside new ones, or where the name says so, they are numbers.
    sure = mobiles >= old or said_by(column.name) == "phone_number"
    if mobiles + old and mobiles + old >= _HALF * every:
        kinds = ("mobile_number", "old_mobile_number")
        yield "phone_number", kinds, sure and mobiles + old >= _MOST * every
    if seen.share("bare_landline", "bare_mobile") >= 0.05:
        yield "phone_number", ("bare_landline",), seen.share("bare_landline", "bare_mobile") >= _HALF


def _residents(column: Column, seen: Seen) -> Rules:
    # Product numbers look like people born in 1988: in a column of codes they are taken for what they are.
    like = ("bare",) if column.role.kind == "code" else ("bare", "product")
    bare = seen.count(*like)
    sure = bare_is_hit(column, bare, seen.count("bare", "product", "long"))
    sure = sure or any(seen.strays.get(mark, 0) for mark in like)
    yield "resident_number", like, sure
    people = seen.count("resident_number") + seen.strays.get("resident_number", 0) + bare * sure
    if people or seen.count(CORPORATE[0]) < seen.count(CORPORATE[1]):
        yield "resident_number", ("resident_number", *CORPORATE), True
    else:
        yield "corporate_number", CORPORATE, False
    alone = seen.share("lost_zeros") >= 0.95 and seen.count("lost_zeros") >= 20
    if alone or (bare > seen.count("lost_zeros") and sure):
        yield "resident_number", ("lost_zeros",), True
    if seen.distinct.get("first_seven", 0) >= _FEW and seen.share("first_seven") >= 0.95:
        yield "resident_number", ("first_seven",), column.role.kind not in _OPAQUE


def _records(column: Column, seen: Seen) -> Rules:
    coded = column.role.kind == "code"
    many = seen.share("uuid") >= _HALF and seen.distinct.get("uuid", 0) >= _FEW
    yield "record_number", ("uuid",), many and not coded
    unique = seen.distinct.get("record", 0) >= max(20, 0.85 * seen.filled)
    shaped = seen.share("record") >= _MOST and 0 < seen.notes.get("templates", 0) <= 5
    lettered = seen.notes.get("letters", 0) >= _HALF * seen.filled
    if shaped and unique and not coded and (lettered or seen.notes["templates"] == 1):
        yield "record_number", ("record",), True
    yield "web_address", ("url",), seen.share("url") >= _HALF
    yield "ip_address", ("ip_address",), seen.share("ip_address") >= _HALF


def _names(column: Column, seen: Seen) -> Rules:
    full, any_name = seen.distinct.get("full_name", 0), sum(seen.distinct.get(mark, 0) for mark in _NAMES)
    named = said_by(column.name) == "personal_name"
    # Words have the shape of a name now and then; names have it nearly always, and many surnames.
    many = full >= 5 and seen.variety("full_name") >= 0.25 and full >= 0.4 * any_name
    varied = seen.notes.get("surnames", 0) >= min(5, full / 3)
    masked = seen.distinct.get("masked_name", 0) >= 5 and seen.variety("masked_name") >= _HALF
    if (many and varied) or masked or (named and seen.variety(*_NAMES) >= 0.3):
        # Where other words stand between the names, only what is a name beyond doubt counts.
        pure = named or seen.variety(*_NAMES) >= 0.8
        yield "personal_name", (*_NAMES, "name_in_text") if pure else ("full_name", "masked_name"), True
    else:
        yield "personal_name", ("full_name", "masked_name", "name_in_text"), seen.share("name_in_text") >= 0.3
    roman = seen.distinct.get("roman_name", 0)
    if roman >= (3 if named else _FEW) and seen.variety("roman_name") >= (_HALF if named else 0.8):
        yield "personal_name", ("roman_name",), True
    digits = seen.distinct.get("name_with_digits", 0)
    stems = seen.notes.get("stems", 0) >= max(_FEW, 0.2 * seen.values)
    if digits >= (3 if named else _FEW) and (stems or named):
        yield "personal_name", ("name_with_digits",), True


def _places(seen: Seen) -> Rules:
    streets = seen.share("street") >= 0.3 and seen.share("street", "street_like") >= _HALF
    yield "address", ("street", "street_like") if streets else ("street",), streets
    enough = seen.share("short_address", "address") >= _HALF and seen.distinct.get("short_address", 0) >= 5
    yield "address", ("short_address",), enough


def _by_name(column: Column, seen: Seen) -> Rules:
    """A name that says so, and content that is at least different from row to row."""
    kind = said_by(column.name)
    if kind in (None, "personal_name", "payment_card", "coordinates") or column.role.kind == "code":
        return
    marks = (
        "record",
        "serial",
        "card",
        "card_like",
        "long",
        "long_number",
        "bare_landline",
        "old_passport",
        "uuid",
        "short_address",
        "street",
        "street_like",
    )
    yield kind, marks, seen.share(*marks) >= _HALF and sum(seen.distinct.get(m, 0) for m in marks) >= _FEW
