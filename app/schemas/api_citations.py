"""Bodies and answers of citations: identifiers, creators, publications."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from app.schemas.api_parts import Body, Line, NamedLine, View

Given = Annotated[str, Field(min_length=1, max_length=240, pattern=r"^[^\x00-\x1f\x7f]*$")]
Form = Literal["json", "xml", "text", "ris", "bibtex"]


class RorGiven(Body):
    """The id of an institution at ror.org, bare or as its URL; null takes it away."""

    ror: Given | None


class RorView(View):
    """An institution and its ROR id."""

    institution_id: str
    ror: str | None


class OrcidGiven(Body):
    """The ORCID iD of a person, bare or as its URL; null takes it away."""

    orcid: Given | None


class OrcidView(View):
    """An account and its ORCID iD."""

    account_id: str
    orcid: str | None


class CreatorGiven(Body):
    """Somebody who made a dataset. With a given and a family name they are cited by these, else by `name`."""

    name: NamedLine
    given_name: Line = ""
    family_name: Line = ""
    orcid: Given | None = None
    affiliation_id: str | None = Field(
        None, pattern=r"^[a-z0-9_]{1,40}$", description="An institution of the platform."
    )


class CreatorsGiven(Body):
    """Who made a dataset, in the order in which they are cited; nobody: those who hold it."""

    creators: list[CreatorGiven] = Field(max_length=200)


class CreatorsView(View):
    """The creators as they are kept."""

    dataset_id: str
    creators: list[CreatorGiven]


class DoiGiven(Body):
    """The DOI of a version, registered elsewhere; bare or as its URL."""

    doi: Given


class DoiView(View):
    """The DOI in its one form, and the page that it should lead to."""

    version_id: str
    doi: str
    landing_page: str


class NewPublication(Body):
    """A publication from the data of a permit."""

    doi: Given
    title: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
    year: int = Field(ge=1900, le=2999)


class PublicationView(View):
    """A publication."""

    id: str
    doi: str
    title: str
    year: int
    reported_at: datetime
