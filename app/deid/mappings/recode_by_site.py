"""Value by value, for each site of one source its own table: at one hospital 1 is M, at the other 0 is.

A site that the mapping does not name, a row without its site and a value that the site's table does not name are listed
together, never passed on.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from app.deid.mappings.contract import Kind, Lookup, MappingParams, Places, Question, fits, typed
from app.deid.mappings.recode import RecodeParams
from app.schemas.dictionary import Column, Name

_BETWEEN = "\x1f"  # no site and no value holds it: names and stored texts have no such sign


class BySiteParams(MappingParams):
    """`site`: the source's column that says where a row is from. `sites`: each of its values, as stored, and the
    table of that site as of `recode`."""

    site: Name
    sites: dict[str, RecodeParams] = Field(min_length=1, max_length=500)


class RecodeBySite(Kind[BySiteParams]):
    """A table of values for each site."""

    name = "recode_by_site"
    Params = BySiteParams

    def findings(
        self, source: Column | None, target: Column, params: BySiteParams
    ) -> Iterator[tuple[str, str]]:
        empty = both = wrong = strange = left = 0
        for table in params.sites.values():
            empty += not table.values
            both += len(table.values.keys() & table.missing.keys())
            wrong += sum(not fits(value, target) for value in table.values.values())
            if target.labels:
                strange += len(set(table.values.values()) - target.labels.keys())
            if source is not None and source.labels:
                left += len(
                    source.labels.keys() - table.values.keys() - table.missing.keys() - source.missing.keys()
                )
        if empty:
            yield "empty_recode", f"the tables of {empty} sites name no value"
        if both:
            yield "recoded_twice", f"{both} values are both recoded and missing"
        if wrong:
            yield "wrong_type", f"{wrong} united values are no {target.type}"
        if strange:
            yield "unlabelled_target", f"{strange} united values have no label in the united dictionary"
        if left:
            yield "value_unmapped", f"{left} labelled values of sites are not in the table of the site"

    def sql(self, at: Places, source: Column | None, target: Column, params: BySiteParams) -> str:
        return typed(f"(SELECT l.into FROM {at.lookup} l WHERE l.v = {_key(at)})", target)

    def reason(self, at: Places, params: BySiteParams) -> str:
        own = at.reason or "NULL"
        if not any(table.missing for table in params.sites.values()):
            return own
        return f"coalesce({own}, (SELECT l.reason FROM {at.lookup} l WHERE l.v = {_key(at)}))"

    def lookup(self, params: BySiteParams) -> Lookup:
        found: Lookup = {}
        for site, table in params.sites.items():
            found |= {f"{site}{_BETWEEN}{value}": (into, None) for value, into in table.values.items()}
            found |= {f"{site}{_BETWEEN}{value}": (None, reason) for value, reason in table.missing.items()}
        return found

    def question(self, at: Places, source: Column | None, target: Column, params: BySiteParams) -> Question:
        unmapped = f"{at.raw} IS NOT NULL AND coalesce({_key(at)} NOT IN (SELECT v FROM {at.lookup}), true)"
        said = f"(coalesce(CAST({at.site} AS VARCHAR), '?') || ': ' || CAST({at.raw} AS VARCHAR))"
        return Question("value", said, unmapped)


def _key(at: Places) -> str:
    return f"(CAST({at.site} AS VARCHAR) || chr({ord(_BETWEEN)}) || CAST({at.raw} AS VARCHAR))"


KIND = RecodeBySite()
