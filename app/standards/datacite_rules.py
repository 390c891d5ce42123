"""What DataCite 4.6 asks of metadata, checked of a document by code that shares nothing with what writes it; pure.

Source: DataCite Metadata Schema Documentation 4.6: the mandatory properties 1-5 and 10, and its controlled lists as
far as they are used here. What else a document may hold is not judged, but refused: we write nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import Finding
from app.standards import doi, orcid, ror

_KNOWN = frozenset(
    {
        "alternateIdentifiers", "contributors", "creators", "dates", "descriptions", "doi", "formats",
        "publicationYear", "publisher", "relatedIdentifiers", "rightsList", "schemaVersion", "subjects", "titles",
        "types", "url", "version",
    }
)  # fmt: skip
_LISTS: dict[str, frozenset[str]] = {
    "nameType": frozenset({"Organizational", "Personal"}),
    "titleType": frozenset({"AlternativeTitle", "Other", "Subtitle", "TranslatedTitle"}),
    "contributorType": frozenset({"DataCollector", "DataCurator", "DataManager", "HostingInstitution", "Sponsor"}),
    "dateType": frozenset({"Accepted", "Available", "Collected", "Created", "Issued", "Updated", "Withdrawn"}),
    "descriptionType": frozenset({"Abstract", "Methods", "Other", "TechnicalInfo"}),
    "relatedIdentifierType": frozenset({"DOI", "Handle", "URL", "URN"}),
    "relationType": frozenset(
        {
            "Cites", "HasVersion", "IsCitedBy", "IsDerivedFrom", "IsNewVersionOf", "IsPreviousVersionOf", "IsSourceOf",
            "IsVersionOf", "Obsoletes", "IsObsoletedBy", "References", "IsReferencedBy",
        }
    ),
    "resourceTypeGeneral": frozenset({"Dataset", "JournalArticle", "Text", "Other"}),
}  # fmt: skip


def faults(document: Mapping[str, Any], *, registers: bool) -> list[Finding]:
    """Everything wrong with a document; `registers`: it is to be registered, so it has a DOI. Never a value."""
    return list(_faults(document, registers))


def _faults(document: Mapping[str, Any], registers: bool) -> Iterator[Finding]:
    for name in sorted(set(document) - _KNOWN):
        yield _wrong("unknown_property", "is not a property that is written here", f"/{name}")
    for name in ("creators", "titles", "publisher", "publicationYear", "types", "schemaVersion"):
        if not document.get(name):
            yield _wrong("missing_property", "is mandatory in DataCite 4.6", f"/{name}")
    if registers and "doi" not in document:
        yield _wrong("doi_missing", "a version is registered under a DOI: set it first", "/doi")
    if "doi" in document and doi.normal(document["doi"]) != document["doi"]:
        yield _wrong("bad_doi", "is not a DOI in lower case without its resolver", "/doi")
    if not re.fullmatch(r"[12]\d{3}", str(document.get("publicationYear", "2000"))):
        yield _wrong("bad_year", "must be a year of four digits", "/publicationYear")
    if document.get("schemaVersion", "").rpartition("/")[2] != "kernel-4":
        yield _wrong("bad_schema", "must name kernel 4", "/schemaVersion")
    yield from _inside(document, "")


def _inside(value: Any, here: str) -> Iterator[Finding]:
    """Controlled lists, languages, dates and identifiers, wherever they stand; no empty text anywhere."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            at = f"{here}/{name}"
            if name in _LISTS and inner not in _LISTS[name]:
                yield _wrong("not_in_list", "is not in the controlled list", at)
            if name == "lang" and inner not in ("ko", "en"):
                yield _wrong("bad_language", "must be ko or en", at)
            if name == "date" and not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", str(inner)):
                yield _wrong("bad_date", "must be a W3CDTF date", at)
            yield from _inside(inner, at)
        yield from _identifier(value, here)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _inside(inner, f"{here}/{i}")
    elif value is None or (isinstance(value, str) and not value.strip()):
        yield _wrong("empty", "must not be empty", here)


def _identifier(value: Mapping[str, Any], here: str) -> Iterator[Finding]:
    for name in ("nameIdentifier", "affiliationIdentifier", "publisherIdentifier"):
        given = value.get(name)
        if given is None:
            continue
        scheme, bare = value.get(f"{name}Scheme"), str(given).rpartition("/")[2]
        normal = {"ORCID": orcid.normal, "ROR": ror.normal}.get(str(scheme))
        if normal is None or normal(bare) != bare:
            yield _wrong(
                "bad_identifier",
                "is no identifier of its scheme",
                f"{here}/{name}",
            )


def _wrong(code: str, detail: str, pointer: str) -> Finding:
    return Finding(code, detail, pointer=pointer)
