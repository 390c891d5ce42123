"""DataCite metadata 4.6 of a dataset version: as JSON in the shape of the DataCite API, and as XML of kernel 4; pure.

Source: DataCite Metadata Schema Documentation 4.6 (2024-12-05). Nothing is told here of how many people there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from xml.etree import ElementTree as xml

from app.standards import orcid, ror

SCHEMA = "http://datacite.org/schema/kernel-4"
_LOCATION = f"{SCHEMA} https://schema.datacite.org/meta/kernel-4.6/metadata.xsd"
_XSI, _LANG = "http://www.w3.org/2001/XMLSchema-instance", "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True, slots=True)
class Organisation:
    """An institution by its names and its ROR id, where it has one."""

    name: str
    name_ko: str = ""
    ror: str | None = None


@dataclass(frozen=True, slots=True)
class Creator:
    """Who made a dataset: a person, or an institution where `given` and `family` are empty."""

    name: str
    given: str = ""
    family: str = ""
    orcid: str | None = None
    affiliation: Organisation | None = None
    organisation: Organisation | None = None


@dataclass(frozen=True, slots=True)
class Related:
    """Another thing, by DOI, and what it is to this one: `IsNewVersionOf`, `IsDerivedFrom`, `IsCitedBy` ..."""

    relation: str
    doi: str
    kind: str = "Dataset"


@dataclass(frozen=True, slots=True)
class Described:
    """One version of a dataset as it is cited. Without a DOI it is a draft, which DataCite does not register."""

    doi: str | None
    title: str
    title_ko: str
    creators: Sequence[Creator]
    publisher: Organisation
    published: date
    version: str
    description: str = ""
    subjects: Sequence[str] = ()
    holders: Sequence[Organisation] = ()
    related: Sequence[Related] = ()
    alternate: str = ""
    url: str | None = None


def as_json(one: Described) -> dict[str, Any]:
    """The attributes of a DOI as the DataCite API takes them."""
    document: dict[str, Any] = {
        **({"doi": one.doi} if one.doi else {}),
        **({"url": one.url} if one.url else {}),
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Consented cohort data"},
        "creators": [_creator(creator) for creator in one.creators],
        "titles": list(_titles(one)),
        "publisher": {"name": one.publisher.name, "lang": "en", **_publisher_id(one.publisher)},
        "publicationYear": str(one.published.year),
        "subjects": [{"subject": subject} for subject in one.subjects],
        "contributors": [
            {**_organisation(holder), "contributorType": "HostingInstitution"} for holder in one.holders
        ],
        "dates": [{"date": one.published.isoformat(), "dateType": "Available"}],
        "alternateIdentifiers": [
            {"alternateIdentifier": one.alternate, "alternateIdentifierType": "Baekman version"}
        ],
        "relatedIdentifiers": [
            {
                "relatedIdentifier": other.doi, "relatedIdentifierType": "DOI", "relationType": other.relation,
                "resourceTypeGeneral": other.kind,
            }
            for other in one.related
        ],
        "formats": ["application/vnd.apache.parquet"],
        "version": one.version,
        "rightsList": [{"rights": "Restricted access: on request and under an agreement", "lang": "en"}],
        "descriptions": [{"description": one.description, "descriptionType": "Abstract"}] if one.description else [],
        "schemaVersion": SCHEMA,
    }  # fmt: skip
    return {name: value for name, value in document.items() if value not in ([], "")}


def as_xml(document: Mapping[str, Any]) -> str:
    """The same as XML of kernel 4. The document has a DOI: kernel 4 knows no resource without one."""
    xml.register_namespace("", SCHEMA)
    root = xml.Element(f"{{{SCHEMA}}}resource", {f"{{{_XSI}}}schemaLocation": _LOCATION})
    _leaf(root, "identifier", document["doi"], identifierType="DOI")
    for one in _group(root, "creators", document.get("creators", ())):
        _person(_child(one.parent, "creator"), "creatorName", one.value)
    for one in _group(root, "titles", document["titles"]):
        _leaf(
            one.parent,
            "title",
            one.value["title"],
            lang=one.value["lang"],
            titleType=one.value.get("titleType"),
        )
    publisher = document["publisher"]
    _leaf(
        root, "publisher", publisher["name"], lang=publisher.get("lang"),
        publisherIdentifier=publisher.get("publisherIdentifier"),
        publisherIdentifierScheme=publisher.get("publisherIdentifierScheme"), schemeURI=publisher.get("schemeUri"),
    )  # fmt: skip
    _leaf(root, "publicationYear", document["publicationYear"])
    types = document["types"]
    _leaf(root, "resourceType", types["resourceType"], resourceTypeGeneral=types["resourceTypeGeneral"])
    for one in _group(root, "subjects", document.get("subjects", ())):
        _leaf(one.parent, "subject", one.value["subject"])
    for one in _group(root, "contributors", document.get("contributors", ())):
        held = _child(one.parent, "contributor", contributorType=one.value["contributorType"])
        _person(held, "contributorName", one.value)
    for one in _group(root, "dates", document["dates"]):
        _leaf(one.parent, "date", one.value["date"], dateType=one.value["dateType"])
    for one in _group(root, "alternateIdentifiers", document["alternateIdentifiers"]):
        kind = one.value["alternateIdentifierType"]
        _leaf(
            one.parent, "alternateIdentifier", one.value["alternateIdentifier"], alternateIdentifierType=kind
        )
    for one in _group(root, "relatedIdentifiers", document.get("relatedIdentifiers", ())):
        attributes = {name: value for name, value in one.value.items() if name != "relatedIdentifier"}
        _leaf(one.parent, "relatedIdentifier", one.value["relatedIdentifier"], **attributes)
    for one in _group(root, "formats", document["formats"]):
        _leaf(one.parent, "format", one.value)
    _leaf(root, "version", document["version"])
    for one in _group(root, "rightsList", document["rightsList"]):
        _leaf(one.parent, "rights", one.value["rights"], lang=one.value["lang"])
    for one in _group(root, "descriptions", document.get("descriptions", ())):
        _leaf(
            one.parent, "description", one.value["description"], descriptionType=one.value["descriptionType"]
        )
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _titles(one: Described) -> Iterator[dict[str, str]]:
    yield {"title": one.title, "lang": "en"}
    if one.title_ko:
        yield {"title": one.title_ko, "lang": "ko", "titleType": "TranslatedTitle"}


def _creator(one: Creator) -> dict[str, Any]:
    if one.organisation is not None:
        return _organisation(one.organisation)
    made: dict[str, Any] = {"name": one.name, "nameType": "Personal"}
    made |= {key: value for key, value in (("givenName", one.given), ("familyName", one.family)) if value}
    if one.orcid:
        made["nameIdentifiers"] = [_name_id(f"{orcid.URI}/{one.orcid}", orcid.SCHEME, orcid.URI)]
    if one.affiliation is not None:
        where: dict[str, str] = {"name": one.affiliation.name}
        if one.affiliation.ror:
            where |= {
                "affiliationIdentifier": f"{ror.URI}/{one.affiliation.ror}", "affiliationIdentifierScheme": ror.SCHEME,
                "schemeUri": ror.URI,
            }  # fmt: skip
        made["affiliation"] = [where]
    return made


def _organisation(one: Organisation) -> dict[str, Any]:
    made: dict[str, Any] = {"name": one.name, "nameType": "Organizational"}
    if one.ror:
        made["nameIdentifiers"] = [_name_id(f"{ror.URI}/{one.ror}", ror.SCHEME, ror.URI)]
    return made


def _name_id(value: str, scheme: str, uri: str) -> dict[str, str]:
    return {"nameIdentifier": value, "nameIdentifierScheme": scheme, "schemeUri": uri}


def _publisher_id(one: Organisation) -> dict[str, str]:
    if not one.ror:
        return {}
    return {
        "publisherIdentifier": f"{ror.URI}/{one.ror}", "publisherIdentifierScheme": ror.SCHEME, "schemeUri": ror.URI,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _In:
    parent: xml.Element
    value: Any


def _group(root: xml.Element, name: str, values: Sequence[Any]) -> Iterator[_In]:
    if values:
        parent = _child(root, name)
        for value in values:
            yield _In(parent, value)


def _person(parent: xml.Element, element: str, value: Mapping[str, Any]) -> None:
    """A creator or contributor: name, given and family name, identifiers, affiliations, in this order."""
    _leaf(parent, element, value["name"], nameType=value["nameType"])
    for name in ("givenName", "familyName"):
        if name in value:
            _leaf(parent, name, value[name])
    for one in value.get("nameIdentifiers", ()):
        _leaf(
            parent, "nameIdentifier", one["nameIdentifier"], nameIdentifierScheme=one["nameIdentifierScheme"],
            schemeURI=one["schemeUri"],
        )  # fmt: skip
    for one in value.get("affiliation", ()):
        _leaf(
            parent, "affiliation", one["name"], affiliationIdentifier=one.get("affiliationIdentifier"),
            affiliationIdentifierScheme=one.get("affiliationIdentifierScheme"), schemeURI=one.get("schemeUri"),
        )  # fmt: skip


def _child(parent: xml.Element, name: str, **attributes: str | None) -> xml.Element:
    said = {
        (_LANG if key == "lang" else key): value for key, value in attributes.items() if value is not None
    }
    return xml.SubElement(parent, f"{{{SCHEMA}}}{name}", said)


def _leaf(parent: xml.Element, name: str, text: str, **attributes: str | None) -> None:
    _child(parent, name, **attributes).text = text
