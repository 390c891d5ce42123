"""Identifiers with their check digits, and citations that DataCite's rules hold of; each rule can refuse."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any
from xml.etree import ElementTree as xml

import pytest

from app.standards import citing, datacite, doi, orcid, ror
from app.standards.datacite import SCHEMA, Creator, Described, Organisation, Related
from app.standards.datacite_rules import faults

# Published examples: ORCID's own documentation and people's pages; ROR's documentation, Seoul National University.
ORCIDS = ("0000-0002-1825-0097", "0000-0001-5109-3700", "0000-0002-1694-233X", "0000-0002-9079-593X")
RORS = ("02mhbdp94", "04h9pn542", "01z4nnt86", "05dxps055", "042nb2s44")


@pytest.mark.parametrize("known", ORCIDS)
def test_an_orcid_is_written_in_one_way(known: str) -> None:
    assert orcid.normal(known) == known
    assert orcid.normal(f" https://orcid.org/{known.lower()}") == known
    assert orcid.normal(known.replace("-", "")) == known


@pytest.mark.parametrize("known", RORS)
def test_a_ror_is_written_in_one_way(known: str) -> None:
    assert ror.normal(known) == known
    assert ror.normal(f"https://ror.org/{known.upper()}") == known


@pytest.mark.parametrize(("normal", "known"), [(orcid.normal, ORCIDS[2]), (ror.normal, RORS[1])])
def test_one_wrong_letter_or_two_swapped_ones_are_found(normal: Any, known: str) -> None:
    letters = "0123456789"
    for at, old in enumerate(known):
        if old.isdigit():
            for new in letters:
                if new != old:
                    assert normal(known[:at] + new + known[at + 1 :]) is None, (at, new)
    for at in range(len(known) - 1):
        one, two = known[at], known[at + 1]
        if one != two and one.isdigit() and two.isdigit():
            assert normal(known[:at] + two + one + known[at + 2 :]) is None


@pytest.mark.parametrize(
    "wrong", ["", "x", "0000-0002-1825-009", "https://ror.org/", "0il1o0000", "11.1234/x"]
)
def test_what_is_none_is_none(wrong: str) -> None:
    assert orcid.normal(wrong) is ror.normal(wrong) is doi.normal(wrong) is None


def test_a_doi_has_no_case_and_no_resolver() -> None:
    assert (
        doi.normal("https://doi.org/10.5281/ZENODO.1")
        == "10.5281/zenodo.1"
        == doi.normal("doi:10.5281/zenodo.1")
    )
    assert doi.normal("10.5281/a b") is None


def described(**more: Any) -> Described:
    hospital = Organisation("Hanbit & Sons Hospital", "한빛병원", RORS[1])
    made = {
        "doi": "10.1234/baekman.1", "title": "Hypertension {clinic} 100%", "title_ko": "고혈압 외래",
        "creators": [
            Creator("Kim, Minji", "Minji", "Kim", ORCIDS[2], hospital), Creator("", organisation=hospital),
        ],
        "publisher": hospital, "published": date(2026, 3, 2), "version": "2", "description": "Visits <of> a clinic",
        "subjects": ["OMOP", "혈압"], "holders": [hospital],
        "related": [
            Related("IsNewVersionOf", "10.1234/baekman.0"), Related("IsCitedBy", "10.1000/a", "JournalArticle"),
        ],
        "alternate": "ver_1", "url": "https://baekman.example/cite/ver_1",
    }  # fmt: skip
    return Described(**{**made, **more})


def test_what_is_written_keeps_the_rules() -> None:
    assert faults(datacite.as_json(described()), registers=True) == []
    draft = datacite.as_json(
        described(doi=None, url=None, subjects=(), related=(), holders=(), description="")
    )
    assert faults(draft, registers=False) == []
    assert [f.code for f in faults(draft, registers=True)] == ["doi_missing"]


@pytest.mark.parametrize(
    ("place", "value", "code"),
    [
        (("creators",), [], "missing_property"),
        (("titles", 0, "title"), " ", "empty"),
        (("titles", 0, "lang"), "kr", "bad_language"),
        (("publisher",), None, "missing_property"),
        (("publicationYear",), "26", "bad_year"),
        (("schemaVersion",), "http://datacite.org/schema/kernel-3", "bad_schema"),
        (("doi",), "https://doi.org/10.1234/x", "bad_doi"),
        (("creators", 0, "nameType"), "Person", "not_in_list"),
        (("creators", 0, "nameIdentifiers", 0, "nameIdentifier"), "0000-0002-1694-2330", "bad_identifier"),
        (("creators", 0, "affiliation", 0, "affiliationIdentifierScheme"), "GRID", "bad_identifier"),
        (("publisher", "publisherIdentifier"), "https://ror.org/04h9pn543", "bad_identifier"),
        (("relatedIdentifiers", 0, "relationType"), "IsLike", "not_in_list"),
        (("types", "resourceTypeGeneral"), "Data", "not_in_list"),
        (("dates", 0, "date"), "2. 3. 2026", "bad_date"),
        (("people",), 1234, "unknown_property"),
    ],
)  # fmt: skip
def test_every_rule_can_refuse(place: tuple[Any, ...], value: Any, code: str) -> None:
    document: Any = copy.deepcopy(datacite.as_json(described()))
    here = document
    for step in place[:-1]:
        here = here[step]
    here[place[-1]] = value
    assert code in [f.code for f in faults(document, registers=True)]


def test_the_xml_says_what_the_json_says() -> None:
    root = xml.fromstring(datacite.as_xml(datacite.as_json(described())))

    def texts(path: str) -> list[str | None]:
        return [one.text for one in root.findall("/".join(f"{{{SCHEMA}}}{part}" for part in path.split("/")))]

    assert root.tag == f"{{{SCHEMA}}}resource"
    assert texts("identifier") == ["10.1234/baekman.1"]
    assert texts("titles/title") == ["Hypertension {clinic} 100%", "고혈압 외래"]
    assert texts("creators/creator/nameIdentifier") == [
        f"https://orcid.org/{ORCIDS[2]}",
        f"https://ror.org/{RORS[1]}",
    ]
    assert texts("publisher") == ["Hanbit & Sons Hospital"]
    assert texts("publicationYear") == ["2026"]
    assert texts("relatedIdentifiers/relatedIdentifier") == ["10.1234/baekman.0", "10.1000/a"]
    assert texts("descriptions/description") == ["Visits <of> a clinic"]
    # Every element that DataCite demands is there; those it repeats stand in a group of its name.
    top = [one.tag.removeprefix(f"{{{SCHEMA}}}") for one in root]
    assert len(top) == len(set(top))
    assert {"identifier", "creators", "titles", "publisher", "publicationYear", "resourceType"} <= set(top)


def test_text_ris_and_bibtex() -> None:
    one = described()
    assert citing.as_text(one) == (
        "Kim, Minji; Hanbit & Sons Hospital (2026): Hypertension {clinic} 100%. Version 2. Hanbit & Sons Hospital. "
        "[Dataset]. https://doi.org/10.1234/baekman.1\n"
    )
    ris = citing.as_ris(one).split("\r\n")
    assert ris[0] == "TY  - DATA"
    assert "AU  - Kim, Minji" in ris
    assert "DO  - 10.1234/baekman.1" in ris
    assert ris[-2:] == ["ER  - ", ""]
    bibtex = citing.as_bibtex(one)
    assert r"title = {{Hypertension \{clinic\} 100\%}}" in bibtex
    assert r"author = {Kim, Minji and {Hanbit \& Sons Hospital}}" in bibtex
    without = described(doi=None)
    assert "doi.org" not in citing.as_text(without) + citing.as_ris(without) + citing.as_bibtex(without)
