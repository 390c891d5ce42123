"""Made-up columns whose every cell is labelled with what it holds: own words and own formats, nothing of the scanner's.

The labels are those of the writer of a cell, so they judge any scanner. No value is of a living person: numbers are
drawn, names are combined. What must not be found is written as hospitals write it: codes, doses, labs, words, notes.
"""

from __future__ import annotations

import json
import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

Draw = random.Random
_WORDS = json.loads((Path(__file__).parent / "labelled_words.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Labelled:
    """A column: its name, its type and role in the dictionary, its cells, and of each cell the kind it holds or None."""

    name: str
    cells: list[str]
    kinds: list[str | None]
    type: str = "string"
    role: str = "attribute"


# --- people

_SURNAMES: list[str] = [name for name, times in _WORDS["surnames"].items() for _ in range(times)]
_GIVEN: list[str] = _WORDS["given"]
_ONE_SYLLABLE: list[str] = _WORDS["one_syllable"]
_TWO_SURNAMES: list[str] = _WORDS["two_surnames"]


def korean_name(draw: Draw) -> str:
    """A surname and a given name as people in Korea have them: one in twenty has one syllable."""
    roll = draw.random()
    if roll < 0.01:
        return draw.choice(_TWO_SURNAMES) + draw.choice(_GIVEN)
    if roll < 0.06:
        return draw.choice(_SURNAMES) + draw.choice(_ONE_SYLLABLE)
    return draw.choice(_SURNAMES) + draw.choice(_GIVEN)


_FIRST = _WORDS["first"]
_LAST = _WORDS["last"]


def synthea_name(draw: Draw, of: list[str]) -> str:
    """A name with the digits that Synthea puts behind it."""
    return f"{draw.choice(of)}{draw.randint(1, 999)}"


# --- numbers


def _digit_sum(text: str, weights: str) -> int:
    return sum(int(a) * int(b) for a, b in zip(text, weights, strict=True))


def resident_number(draw: Draw) -> str:
    """Thirteen digits: the old kind with its check digit, the kind of October 2020 and after without."""
    born = date(1935, 1, 1) + timedelta(days=draw.randrange(33_000))
    century = (1 if born.year < 2000 else 3) + draw.randint(0, 1) + (4 if draw.random() < 0.06 else 0)
    body = f"{born:%y%m%d}{century}{draw.randrange(10**5):05d}"
    check = (11 - _digit_sum(body, "234567892345") % 11) % 10
    return body + str(draw.randrange(10) if born >= date(2020, 10, 1) or draw.random() < 0.05 else check)


def corporate_number(draw: Draw) -> str:
    """A corporate registration number: registry, kind, serial, its own check digit."""
    registry = draw.choice(
        [
            "1101",
            "1101",
            "1101",
            "1301",
            "1311",
            "1341",
            "1345",
            "1358",
            "1401",
            "1501",
            "1601",
            "1648",
            "1701",
            "1746",
            "1801",
            "1845",
            "1901",
            "1955",
            "2001",
            "2011",
            "2101",
            "2141",
            "2201",
        ]
    )
    body = (
        registry
        + draw.choice(["11", "11", "11", "12", "14", "21", "22"])
        + f"{draw.randrange(9 * 10**5):06d}"
    )
    return body + str((10 - _digit_sum(body, "121212121212") % 10) % 10)


def _resident_written(draw: Draw) -> str:
    n = resident_number(draw)
    return draw.choice([
        f"{n[:6]}-{n[6:]}", f"{n[:6]}-{n[6:]}", f"{n[:6]}-{n[6:]}", n, f"{n[:6]} - {n[6:]}", f"{n[:6]}–{n[6:]}", f"{n[:6]} {n[6:]}",
        f"{n[:6]}-{n[6]}******", f"{n[:6]}-{n[6]}●●●●●●", f"{n[:6]}-*******", f"{n[:6]}-{n[6]}xxxxxx", f"{n[:6]}-{n[6:9]}****", f"{n[:6]}~{n[6:]}",
    ])  # fmt: skip


def _mobile(draw: Draw) -> str:
    a, b = f"{draw.randint(2, 9)}{draw.randrange(1000):03d}", f"{draw.randrange(10000):04d}"
    old = f"{draw.choice(['011', '016', '017', '018', '019'])}-{draw.randint(200, 999)}-{b}"
    return draw.choice([
        f"010-{a}-{b}", f"010-{a}-{b}", f"010-{a}-{b}", f"010{a}{b}", f"010.{a}.{b}", f"010 {a} {b}", f"(010){a}-{b}", f"010) {a}-{b}",
        f"+82-10-{a}-{b}", f"+82 10 {a} {b}", f"+8210{a}{b}", f"82-10-{a}-{b}".replace("82-", "+82-", 1), f"010-{a}{b}", f"010–{a}–{b}", old,
    ])  # fmt: skip


def _landline(draw: Draw) -> str:
    area = draw.choice(
        [
            "02",
            "031",
            "032",
            "033",
            "041",
            "042",
            "043",
            "044",
            "051",
            "052",
            "053",
            "054",
            "055",
            "061",
            "062",
            "063",
            "064",
            "070",
        ]
    )
    a, b = str(draw.randint(200, 9999)), f"{draw.randrange(10000):04d}"
    return draw.choice([f"{area}-{a}-{b}", f"{area}-{a}-{b}", f"{area}){a}-{b}", f"({area}) {a}-{b}", f"({area}){a}-{b}", f"{area}.{a}.{b}", f"+82-{area[1:]}-{a}-{b}", f"{area} {a} {b}"])  # fmt: skip


def phone(draw: Draw) -> str:
    """A Korean phone number as people write it; two in three are mobile."""
    return _mobile(draw) if draw.random() < 0.66 else _landline(draw)


def _letters(draw: Draw, n: int) -> str:
    return "".join(draw.choice(string.ascii_lowercase) for _ in range(n))


def e_mail(draw: Draw) -> str:
    """An address of the kinds that occur."""
    host = draw.choice(
        [
            "naver.com",
            "daum.net",
            "gmail.com",
            "snuh.example.kr",
            "mail.example.co.kr",
            "kakao.com",
            f"{_letters(draw, 6)}.org",
        ]
    )
    user = draw.choice(
        [
            _letters(draw, draw.randint(3, 9)),
            f"{_letters(draw, 4)}.{_letters(draw, 5)}",
            f"{_letters(draw, 5)}_{draw.randrange(99)}",
            f"{_letters(draw, 3)}+{_letters(draw, 3)}",
            _letters(draw, 6).upper(),
        ]
    )
    if draw.random() < 0.15:  # as people write it against machines
        at = draw.choice([" [at] ", "[at]", "(at)", " {at} ", "(골뱅이)", " <at> ", "골뱅이"])
        dotted = (
            host.replace(".", draw.choice([".", ".", "[dot]", " (dot) "])) if "골뱅이" not in at else host
        )
        return f"{user}{at}{dotted}"
    return f"{user}@{host}"


_ISSUERS = ["4", "4", "51", "53", "55", "2221", "2499", "37", "6011", "3530", "6258", "9430"]


def card(draw: Draw) -> str:
    """The number of a payment card with its last digit chosen to fit, as it is printed, keyed in, or half hidden."""
    start = draw.choice(_ISSUERS)
    body = start + "".join(
        draw.choice(string.digits) for _ in range((15 if start == "37" else 16) - len(start) - 1)
    )
    total = 0
    for i, c in enumerate(reversed(body)):
        twice = int(c) * (1 if i % 2 else 2)
        total += twice // 10 + twice % 10
    n = body + str(-total % 10)
    if start == "37":
        return draw.choice([n, f"{n[:4]}-{n[4:10]}-{n[10:]}", f"{n[:4]} {n[4:10]} {n[10:]}"])
    groups = [n[i : i + 4] for i in range(0, 16, 4)]
    hidden = [groups[0], draw.choice(["****", groups[1][:2] + "**"]), "****", groups[3]]
    return draw.choice(["-".join(groups), "-".join(groups), " ".join(groups), n, "-".join(hidden)])


def spot(draw: Draw) -> str:
    """Where a device was, somewhere in Korea, to a few metres."""
    north, east = draw.uniform(33.2, 38.4), draw.uniform(126.2, 129.4)
    digits = draw.randint(5, 8)
    a, b = f"{north:.{digits}f}", f"{east:.{digits}f}"
    turn = lambda x: f"{int(x)}°{int(x % 1 * 60):02d}'{x * 3600 % 60:04.1f}\""  # noqa: E731
    return draw.choice(
        [f"{a}, {b}", f"{a},{b}", f"{a} {b}", f"POINT({b} {a})", f"{turn(north)}N {turn(east)}E", f"{a}/{b}"]
    )


def passport(draw: Draw) -> str:
    """A Korean passport number, old or new."""
    lead = draw.choice("MMMSRG")
    return (
        f"{lead}{draw.randrange(10**8):08d}"
        if draw.random() < 0.5
        else f"{lead}{draw.randrange(1000):03d}{draw.choice('ABCDEFGHJK')}{draw.randrange(10**4):04d}"
    )


def licence(draw: Draw) -> str:
    """A driver's licence number: region, year, serial, check."""
    return f"{draw.choice(['11', '12', '13', '14', '15', '17', '18', '21', '23', '26', '28', '서울', '경기'])}-{draw.randrange(100):02d}-{draw.randrange(10**6):06d}-{draw.randrange(100):02d}"


def connecting(draw: Draw) -> str:
    """Connecting information: 64 bytes in base 64."""
    return "".join(draw.choice(string.ascii_letters + string.digits + "+/") for _ in range(86)) + "=="


def social_security(draw: Draw) -> str:
    """As Synthea makes them."""
    return f"999-{draw.randint(10, 99)}-{draw.randint(1000, 9999)}"


# --- places

_PLACES = _WORDS["places"]


def korean_address(draw: Draw) -> str:
    """Province, town, and a road or a village with a number; often with what follows."""
    town, villages, roads = draw.choice(_PLACES).split("|")
    number = f"{draw.randint(1, 999)}" + (f"-{draw.randint(1, 40)}" if draw.random() < 0.3 else "")
    if draw.random() < 0.6:
        road = draw.choice(roads.split())
        road += (
            draw.choice(["", "", f"{draw.randint(2, 90)}길", f" {draw.randint(2, 300)}번길"])
            if road.endswith("로")
            else ""
        )
        place = f"{road} {number}"
    else:
        place = f"{draw.choice(villages.split())} {number}" + draw.choice(["", "번지"])
    rest = draw.choice(
        [
            "",
            "",
            f", {draw.randint(101, 120)}동 {draw.randint(101, 2500)}호",
            f" ({draw.choice(villages.split())})",
            f" {draw.randint(1, 20)}층",
            f" 한빛아파트 {draw.randint(101, 119)}동",
        ]
    )
    return f"{town} {place}{rest}"


_KINDS_OF_STREET = _WORDS["streets"]


def us_address(draw: Draw) -> str:
    """A street address as Synthea writes it."""
    street = f"{draw.randint(100, 1099)} {draw.choice(_LAST)} {draw.choice(_KINDS_OF_STREET)}"
    return street + draw.choice(
        [
            "",
            "",
            f" Unit {draw.randint(1, 99)}",
            f" Apt {draw.randint(1, 99)}",
            f" Suite {draw.randint(1, 99)}",
        ]
    )


# --- text around it

_KOREAN_NOTES = [
    "환자 내원하여 상담함. {x} 확인.", "보호자 연락처: {x}", "{x} 로 문의 바람", "비고 - {x} (본인 확인 완료)", "전일 통화함 {x}, 재방문 예정", "수술 동의서 수령. {x}", "[{x}]", "문의:{x}.",
]  # fmt: skip
_ENGLISH_NOTES = [
    "Called the patient, {x}, no answer.",
    "see {x}",
    "Reached at {x}; will come back",
    "contact={x}",
    "note ({x}) on file",
]
_ADDRESS_NOTES = ["거주지는 {x}", "퇴원 후 {x} 로 귀가", "주소 {x}", "{x} 거주. 독거 노인", "전입: {x}"]

MAKERS: dict[str, Callable[[Draw], str]] = {
    "resident_number": _resident_written, "phone_number": phone, "e_mail_address": e_mail,
    "social_security_number": social_security, "passport_number": passport, "driver_licence": licence,
    "connecting_information": connecting, "payment_card": card, "coordinates": spot, "address": korean_address,
}  # fmt: skip
_WORDS_EN = _WORDS["english"]
_NOTES_KO = _WORDS["korean_notes"].split("|")


def _harmless_note(draw: Draw) -> str:
    if draw.random() < 0.5:
        return " ".join(draw.choice(_WORDS_EN) for _ in range(draw.randint(3, 14)))
    made = ". ".join(draw.sample(_NOTES_KO, draw.randint(1, 4)))
    return made.format(
        a=draw.randint(90, 160),
        b=draw.randint(50, 99),
        c=draw.choice([75, 100, 500]),
        d=draw.randint(1, 9),
        e=draw.randint(1, 9),
    )


_KOREAN_WORDS = _WORDS["korean_words"]


def _code(draw: Draw, shape: str) -> str:
    table = {"9": string.digits, "A": string.ascii_uppercase, "x": "0123456789abcdef"}
    return "".join(draw.choice(table[c]) if c in table else c for c in shape)


_HARMLESS: dict[str, Callable[[Draw], str]] = {
    "plain_corporate_number": corporate_number,
    "icd": lambda d: _code(d, d.choice(["A99", "A99.9", "A99.99"])), "loinc": lambda d: _code(d, d.choice(["9999-9", "99999-9"])),
    "edi": lambda d: _code(d, d.choice(["999999999", "A99999", "AA999"])), "atc": lambda d: _code(d, "A99AA99"),
    "snomed": lambda d: str(d.randrange(10**6, 10**9)), "ndc": lambda d: _code(d, d.choice(["99999-9999-99", "0009-9999-99"])),
    "pressure": lambda d: f"{d.randint(90, 180)}/{d.randint(50, 110)}", "lab": lambda d: f"{d.uniform(0, 300):.1f} {d.choice(['mg/dL', 'mmol/L', 'IU/L', '%'])}",
    "iso_date": lambda d: str(date(1950, 1, 1) + timedelta(days=d.randrange(27_000))), "plain_date": lambda d: f"{date(1950, 1, 1) + timedelta(days=d.randrange(27_000)):%Y%m%d}",
    "moment": lambda d: f"{date(2010, 1, 1) + timedelta(days=d.randrange(5000))} {d.randrange(24):02d}:{d.randrange(60):02d}:{d.randrange(60):02d}",
    "clock": lambda d: f"{d.randrange(24):02d}:{d.randrange(60):02d}:{d.randrange(60):02d}", "number": lambda d: f"{d.uniform(0, 1e5):.4f}", "money": lambda d: f"{d.randrange(10**7):,}",
    "variant": lambda d: d.choice([f"rs{d.randrange(10**8)}", f"chr{d.randint(1, 22)}:{d.randrange(10**7)}-{d.randrange(10**8)}", f"NM_{d.randrange(10**6):06d}.{d.randint(1, 9)}:c.{d.randint(1, 4000)}C>G"]),
    "gene": lambda d: _code(d, d.choice(["HLA-A*99:99", "CYP9A9", "BRCA9", "AAA99"])), "dose": lambda d: f"{d.choice(['Metformin', 'Aspirin', 'Amlodipine'])} {d.choice([5, 100, 500])} MG Oral Tablet",
    "version": lambda d: f"v{d.randint(1, 9)}.{d.randint(0, 20)}.{d.randint(0, 9)}", "range": lambda d: f"{d.randint(1, 500)}-{d.randint(500, 999)}", "note": _harmless_note,
    "visit": lambda d: f"Visit{d.randint(1, 12)}", "arm": lambda d: d.choice(["Placebo", "Drug5", "Drug10", "Drug20"]), "ward": lambda d: f"{d.randint(1, 14)}{d.choice('동병')} {d.randint(1, 30)}호",
    "corporate_number": lambda d: (lambda n: f"{n[:6]}-{n[6:]}")(corporate_number(d)), "business": lambda d: f"{d.randint(101, 899)}-{d.randint(10, 89)}-{d.randrange(10**5):05d}",
    "interval": lambda d: (lambda a: f"{a:.4f}, {a + d.uniform(0.1, 9):.4f}")(d.uniform(10, 90)), "order": lambda d: _code(d, "9999-9999-9999-9999"),
    "long_order": lambda d: str(d.randrange(10**15, 10**16)), "copies": lambda d: f"{d.uniform(1, 10):.12f}e+{d.choice([9, 10, 11, 12])}",
    "fine_number": lambda d: f"{d.uniform(30, 42):.5f}", "hidden": lambda d: _code(d, "AA99****99"),
    "grade": lambda d: d.choice(["Stage 1", "Stage 2A", "Grade3", "ECOG 0", "T2N1M0", "ASA 3"]), "unit": lambda d: d.choice(["mg", "mL/min/1.73m2", "10*3/uL", "[degF]"]),
    "race": lambda d: d.choice(["White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other"]), "schooling": lambda d: d.choice(["HS-grad", "Some-college", "Bachelors", "7th-8th", "12th", "1st-4th"]),
    "country": lambda d: d.choice(["United-States", "South Korea", "Viet Nam", "Outlying-US(Guam-USVI-etc)", "대한민국", "중국", "베트남"]),
}  # fmt: skip
_WHOLE: dict[str, Callable[[Draw], str]] = {
    "age": lambda d: str(d.randint(0, 99)), "concept": lambda d: str(d.choice([8507, 8532, 4112343, 40481087, 35208414, 44923712, 38000177])),
    "weight_in_grams": lambda d: str(d.randint(2000, 140_000)), "day_number": lambda d: f"{date(1950, 1, 1) + timedelta(days=d.randrange(27_000)):%Y%m%d}",
    "seconds": lambda d: str(d.randint(1_200_000_000, 1_760_000_000)), "cost": lambda d: str(d.randint(100, 90_000_000)), "year": lambda d: str(d.randint(1920, 2020)),
    "long_stay": lambda d: str(d.randrange(10**15, 10**16)), "position": lambda d: str(d.randrange(250_000_000)), "seven": lambda d: str(d.randrange(10**6, 10**7)),
}  # fmt: skip


def harmless(draw: Draw, rows: int) -> list[Labelled]:
    """Columns of which no cell is an identifier."""
    made = [
        Labelled(f"h_{name}", [make(draw) for _ in range(rows)], [None] * rows)
        for name, make in _HARMLESS.items()
    ]
    made += [
        Labelled(f"w_{name}", [draw.choice(words) for _ in range(rows)], [None] * rows)
        for name, words in _KOREAN_WORDS.items()
    ]
    made += [
        Labelled(f"n_{name}", [make(draw) for _ in range(rows)], [None] * rows, "integer")
        for name, make in _WHOLE.items()
    ]
    made.append(
        Labelled(
            "mixed_words",
            [draw.choice(draw.choice(list(_KOREAN_WORDS.values()))) for _ in range(rows)],
            [None] * rows,
        )
    )
    made.append(
        Labelled("sequence", [str(i + 1) for i in range(rows)], [None] * rows, "integer", "record_id")
    )
    return made


def harmful(draw: Draw, rows: int) -> list[Labelled]:
    """Columns that hold identifiers: whole cells, cells among others, cells inside text, whole numbers."""
    made = []
    for kind, make in MAKERS.items():
        made.append(Labelled(f"all_{kind}", [make(draw) for _ in range(rows)], [kind] * rows))
        made.append(_mixed(draw, f"some_{kind}", kind, make, rows, _alone))
        notes = _ADDRESS_NOTES if kind == "address" else _KOREAN_NOTES + _ENGLISH_NOTES
        made.append(_mixed(draw, f"text_{kind}", kind, make, rows, _inside(notes)))
    made.append(
        Labelled("name_of_people", [korean_name(draw) for _ in range(rows)], ["personal_name"] * rows)
    )
    spaced = [
        f"{n[0]} {n[1:]}" if draw.random() < 0.2 else n for n in (korean_name(draw) for _ in range(rows))
    ]
    made.append(Labelled("mixed_writing", spaced, ["personal_name"] * rows))
    few = [korean_name(draw) if draw.random() < 0.5 else None for _ in range(rows)]
    words = _KOREAN_WORDS["job"] + _KOREAN_WORDS["family"]
    made.append(
        Labelled(
            "half_names",
            [n or draw.choice(words) for n in few],
            ["personal_name" if n else None for n in few],
        )
    )
    made.append(
        Labelled(
            "whole_resident",
            [str(int(resident_number(draw))) for _ in range(rows)],
            ["resident_number"] * rows,
            "integer",
        )
    )
    made.append(
        Labelled("first_seven", [resident_number(draw)[:7] for _ in range(rows)], ["resident_number"] * rows)
    )
    made.append(
        Labelled(
            "first_seven_dashed",
            [(lambda n: f"{n[:6]}-{n[6]}")(resident_number(draw)) for _ in range(rows)],
            ["resident_number"] * rows,
        )
    )
    made.append(
        Labelled(
            "whole_first_seven",
            [str(int(resident_number(draw)[:7])) for _ in range(rows)],
            ["resident_number"] * rows,
            "integer",
        )
    )
    made += _keyed(draw, rows)
    made.append(
        Labelled(
            "whole_mobile",
            [f"10{draw.randint(2, 9)}{draw.randrange(10**7):07d}" for _ in range(rows)],
            ["phone_number"] * rows,
            "integer",
        )
    )
    return made


def _keyed(draw: Draw, rows: int) -> list[Labelled]:
    """What table programs make of long numbers (a point and a zero, powers of ten, no zeros at the end), whole cards, and
    coordinates in columns of their own."""
    floats = [float(resident_number(draw)) for _ in range(rows)]
    powers = [f"{one:.12e}".split("e") for one in floats]
    shown = {
        "float_with_point": [f"{one:.1f}" for one in floats],
        "float_as_power": [f"{one:.12E}" for one in floats],
        "float_short_power": [f"{mantissa.rstrip('0')}e{int(power)}" for mantissa, power in powers],
    }
    made = [Labelled(name, cells, ["resident_number"] * rows) for name, cells in shown.items()]
    made.append(Labelled("float_number", shown["float_with_point"], ["resident_number"] * rows, "number"))
    places: list[str | None] = ["coordinates"] * rows
    made.append(Labelled("GPS_LAT", [f"{draw.uniform(33, 38.5):.6f}" for _ in range(rows)], places, "number"))
    made.append(Labelled("longitude", [f"{draw.uniform(125, 130):.7f}" for _ in range(rows)], places))
    world = [f"{draw.uniform(20, 60):.5f}, {draw.uniform(20, 170):.5f}" for _ in range(rows)]
    made.append(Labelled("anywhere", world, places))
    keyed = (card(draw).replace("-", "").replace(" ", "") for _ in range(5 * rows))
    whole = [one for one in keyed if one.isdigit()][:rows]
    made.append(Labelled("whole_card", whole, ["payment_card"] * rows, "integer"))
    return made


def _alone(draw: Draw, identifier: str) -> str:
    return identifier


def _inside(notes: list[str]) -> Callable[[Draw, str], str]:
    return lambda draw, identifier: draw.choice(notes).format(x=identifier)


def _mixed(
    draw: Draw,
    name: str,
    kind: str,
    make: Callable[[Draw], str],
    rows: int,
    write: Callable[[Draw, str], str],
) -> Labelled:
    kinds = [kind if draw.random() < 0.05 else None for _ in range(rows)]
    return Labelled(name, [write(draw, make(draw)) if k else _harmless_note(draw) for k in kinds], kinds)


def synthea(draw: Draw, rows: int) -> list[Labelled]:
    """The identifying columns of Synthea's patients.csv, made alike."""
    person = lambda of: [synthea_name(draw, of) for _ in range(rows)]  # noqa: E731
    maiden = [synthea_name(draw, _LAST) if draw.random() < 0.28 else "" for _ in range(rows)]
    columns = {
        "Id": [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(rows)],
        "SSN": [social_security(draw) for _ in range(rows)], "DRIVERS": [f"S999{draw.randrange(10**5):05d}" for _ in range(rows)],
        "PASSPORT": [f"X{draw.randrange(10**8):08d}X" for _ in range(rows)], "FIRST": person(_FIRST), "LAST": person(_LAST),
        "MAIDEN": maiden, "ADDRESS": [us_address(draw) for _ in range(rows)],
    }  # fmt: skip
    kinds = {
        "Id": "record_number",
        "SSN": "social_security_number",
        "DRIVERS": "driver_licence",
        "PASSPORT": "passport_number",
        "ADDRESS": "address",
    }
    return [
        Labelled(name, cells, [kinds.get(name, "personal_name") if cell else None for cell in cells])
        for name, cells in columns.items()
    ]
