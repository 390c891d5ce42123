"""The words of a consent register: its columns, what may stand in them, and the shape of lines that were read."""

from __future__ import annotations

import pyarrow as pa

DOMAINS = ("clinical", "genomic", "lifelog", "public", "recontact")
EVERY_DOMAIN = "all"
GRANTED, WITHDRAWN = "granted", "withdrawn"
SAID = (GRANTED, WITHDRAWN)
KINDS = ("no_further_contact", "no_further_use", "destroy")
USUAL_KIND = "no_further_use"
NARROWED = "narrowed"
"""Not a withdrawal of a domain: the person agrees to fewer purposes. Copies whose purpose is not among them lose the
person as if they had withdrawn."""
UNLINKED = "unlinked"
"""Not a withdrawal of a domain either: the person may be linked with another cohort no more. Their rows stay, apart."""
ENDED = "cohort_ended"
"""Nobody's own word: the institution that holds the cohort left. Nothing of anybody in it leaves any more, or stays."""
DESTROYING = ("destroy", ENDED)
"""Kinds after which rows are destroyed."""

NEEDED = ("participant_id", "domain", "state")
# Of the person as a whole: where a line says nothing of it, it stays as it was.
PERSONAL = ("linkage_token", "may_link", "deceased")
COLUMNS = (
    *NEEDED, "purposes", "form_version", "language", "given_at", "valid_until", "by_proxy", "assent", "birth_month",
    "withdrawal", *PERSONAL,
)  # fmt: skip

MOST_TEXT = 40  # characters of a form version
LANGUAGE = r"^[a-z]{2}(-[A-Z]{2})?$"

PEOPLE = pa.schema(
    [("n", pa.int32()), ("identity", pa.binary()), ("linkage", pa.binary()), ("may_link", pa.bool_()),
     ("deceased", pa.bool_())]
)  # fmt: skip
"""One row a person of a load: `n` numbers them in this load; null is nothing said."""

LINES = pa.schema(
    [("line", pa.int64()), ("n", pa.int32()), ("domain", pa.string()), ("state", pa.string()),
     ("purposes", pa.string()), ("form_version", pa.string()), ("language", pa.string()), ("given_at", pa.date32()),
     ("valid_until", pa.date32()), ("by_proxy", pa.bool_()), ("assent", pa.string()), ("adult_due", pa.date32()),
     ("kind", pa.string())]
)  # fmt: skip
"""One row a person and domain: `purposes` is a JSON list as Python writes it; `line` is its row in what was sent."""
