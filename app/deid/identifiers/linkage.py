"""What cannot be a linkage token: what looks like a number of a person, or could be a plain digest of one.

Whoever knows the number could make such a digest again, so it would link outside what was agreed. The patterns are
read alike by RE2 and Python.
"""

from __future__ import annotations

import re

from app.deid.identifiers import BARE, PATTERNS, looks_like

SHORTEST, LONGEST = 16, 80  # characters of a token

# Digests as they are usually written: MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512, in hexadecimal and in base 64.
_HEX = (32, 40, 56, 64, 96, 128)
_BASE64 = (22, 24, 27, 28, 38, 40, 43, 44, 64, 86, 88)
_DIGESTS = [f"[0-9A-Fa-f]{{{n}}}" for n in _HEX]
_DIGESTS += [f"[A-Za-z0-9+/_-]{{{n - 2}}}[A-Za-z0-9+/_=-]{{2}}" for n in _BASE64]
DIGEST = rf"^(?:{'|'.join(_DIGESTS)}|\$.*|sha[0-9-]+[:$].*|md5[:$].*)$"
SHAPE = rf"^[A-Za-z0-9][A-Za-z0-9._:/+=-]{{{SHORTEST - 1},{LONGEST - 1}}}$"
# Among a million random ones some hold a phone number between their letters, so these are asked nothing else.
UUID = r"^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
# The usual form, an agency and a run of letters and digits with a letter in it: too long and too plain to be a number
# of a person, which stands alone, or has hyphens. One cheap look instead of ten.
USUAL = r"^[A-Za-z]{2,20}:[0-9]{0,59}[A-Za-z][0-9A-Za-z]{0,59}$"
_TAIL = 16  # characters after the colon, at least

WHY = {
    "identifier": "tokens look like resident numbers, CI or DI, or the like; they are issued by the linkage agency",
    "bare_digest": "tokens have the form of a plain digest, which could be made from a resident number; "
    "issued ones bear their agency (agency:...) or are UUIDs",
    "bad_token": f"a linkage token has {SHORTEST} to {LONGEST} letters, digits or ._:/+=-",
}


def refusal(token: str) -> str | None:
    """Why a text cannot be a linkage token, as a key of `WHY`; None where it can."""
    if re.search(UUID, token) or _is_usual(token):
        return None
    if looks_like(token) is not None:
        return "identifier"
    if re.search(DIGEST, token):
        return "bare_digest"
    return None if re.search(SHAPE, token) else "bad_token"


def like_a_person(text: str) -> str:
    """SQL of whether the text looks like a number or address of a person for certain, as `looks_like` says."""
    return "(" + " OR ".join(f"regexp_matches({text}, {_sql(p)})" for p in (*PATTERNS.values(), BARE)) + ")"


def sql_refusal(token: str) -> str:
    """SQL of `refusal`; null-safe: nothing is refused where there is no token."""
    usual = (
        f"regexp_matches({token}, {_sql(USUAL)}) AND length({token}) <= {LONGEST}"
        f" AND length({token}) - strpos({token}, ':') >= {_TAIL}"
        f" AND lower({token}[:3]) NOT IN ('md5', 'sha')"
    )
    return (
        f"CASE WHEN {token} IS NULL OR regexp_matches({token}, {_sql(UUID)}) OR ({usual}) THEN NULL "
        f"WHEN {like_a_person(token)} THEN 'identifier' WHEN regexp_matches({token}, {_sql(DIGEST)}) "
        f"THEN 'bare_digest' WHEN NOT regexp_matches({token}, {_sql(SHAPE)}) THEN 'bad_token' END"
    )


def _is_usual(token: str) -> bool:
    tail = len(token) - token.find(":") - 1
    named = token[:3].lower() not in ("md5", "sha")
    return bool(re.search(USUAL, token)) and len(token) <= LONGEST and tail >= _TAIL and named


def _sql(pattern: str) -> str:
    return "'" + pattern.replace("'", "''") + "'"
