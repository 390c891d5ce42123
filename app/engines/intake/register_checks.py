"""The SQL that reads a register: values of their types, and for each line what is wrong with it, never what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from app.deid.identifiers.linkage import WHY, like_a_person, sql_refusal
from app.engines.intake.reading import literal, stripped
from app.errors import Finding
from app.schemas.register import (
    COLUMNS,
    DOMAINS,
    EVERY_DOMAIN,
    KINDS,
    LANGUAGE,
    MOST_TEXT,
    NEEDED,
    SAID,
    USUAL_KIND,
)

_SHORTEST = 13  # characters; the institution's own ids that are shorter are only numbers of theirs
_YES, _NO = ("yes", "y", "true", "t", "1"), ("no", "n", "false", "f", "0")


@dataclass(frozen=True, slots=True)
class Ages:
    """The day of the load, and the ages (whole years) at which people are asked themselves, and for their assent."""

    today: date
    adult: int
    assent: int


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that can be wrong with a line: SQL over `typed`, and how it is told."""

    code: str
    column: str | None
    wrong: str
    detail: str


def typed(source: str, ages: Ages) -> str:
    """The query that makes `typed`: trimmed texts, and beside them days, yes or no, and the day an adult is due."""
    texts = ", ".join(f"{stripped(name)} AS {name}" for name in COLUMNS)
    lower = ", ".join(
        f"lower({name}) AS {name}" for name in ("domain", "state", "assent", "withdrawal", *_FLAGS)
    )
    days = ", ".join(f"{_day(name)} AS {name}_day" for name in ("given_at", "valid_until"))
    flags = ", ".join(f"{_flag(name)} AS {name}_said" for name in _FLAGS)
    trimmed = f"SELECT __row, {texts} FROM {source}"
    plain = f"SELECT * REPLACE ({lower}, nfc_normalize(participant_id) AS participant_id) FROM ({trimmed})"
    # A line of nothing says nothing (a spreadsheet leaves them at its end).
    filled = " OR ".join(f"{name} IS NOT NULL" for name in COLUMNS)
    read = (
        f"SELECT *, {days}, {flags}, {_month('birth_month')} AS born,"
        f" coalesce(withdrawal, {literal(USUAL_KIND)}) AS kind_said FROM ({plain}) WHERE {filled}"
    )
    grown = f"CAST(born + INTERVAL {ages.adult} YEAR AS DATE)"
    # In the month of the birthday the day is not known: a proxy may still have been right, so the next month is due.
    due = (
        f"CASE WHEN by_proxy_said AND given_at_day < {grown} THEN {grown}"
        f" WHEN by_proxy_said AND given_at_day < {grown} + INTERVAL 1 MONTH"
        f" THEN CAST({grown} + INTERVAL 1 MONTH AS DATE) END"
    )
    return f"SELECT *, {grown} AS grown, {due} AS adult_due FROM ({read})"


def checks(ages: Ages) -> list[Check]:
    """Everything that is asked of each line; codes and columns in the order in which they are told."""
    grants = "state = 'granted'"
    found = [
        Check("missing_value", name, f"{name} IS NULL", "participant_id, domain and state must be there")
        for name in NEEDED
    ]
    contact, destroy = literal(KINDS[0]), literal(KINDS[2])
    found += [
        Check("bad_domain", "domain", f"domain NOT IN ({_list((*DOMAINS, EVERY_DOMAIN))})",
              f"the domain is one of {', '.join(DOMAINS)}, {EVERY_DOMAIN}"),
        Check("bad_state", "state", f"state NOT IN ({_list(SAID)})", "the state is granted or withdrawn"),
        Check("bad_date", "given_at", f"given_at IS NOT NULL AND (given_at_day IS NULL OR given_at_day > {_to(ages)})",
              "dates are ISO 8601 days, and no consent was given in the future"),
        Check("bad_date", "valid_until", "valid_until IS NOT NULL AND (valid_until_day IS NULL "
              "OR coalesce(valid_until_day < given_at_day, false))",
              "dates are ISO 8601 days, and a consent does not end before it was given"),
        Check("bad_date", "birth_month", f"birth_month IS NOT NULL AND (born IS NULL OR born > {_to(ages)} "
              "OR coalesce(born > given_at_day, false))", "a month is YYYY-MM and not later than the consent"),
        Check("bad_form_version", "form_version", f"length(form_version) > {MOST_TEXT}",
              f"a form version has at most {MOST_TEXT} characters"),
        Check("bad_language", "language", f"NOT regexp_full_match(language, {literal(LANGUAGE)})",
              "a language is written as ko or en-GB"),
        Check("bad_assent", "assent", "assent NOT IN ('given', 'refused')", "a child's assent is given or refused"),
        Check("assent_refused", "assent", f"assent = 'refused' AND {grants}", "a child who refuses is not in"),
        Check("bad_withdrawal", "withdrawal", f"withdrawal NOT IN ({_list(KINDS)}) OR "
              f"(withdrawal IS NOT NULL AND {grants}) OR (withdrawal = {contact} AND domain <> 'recontact') OR "
              f"(withdrawal = {destroy} AND domain <> {literal(EVERY_DOMAIN)})",
              f"a withdrawal is one of {', '.join(KINDS)}, of a line that withdraws; no further contact of recontact, "
              f"and destroy of {EVERY_DOMAIN}: it is of the whole person, single domains leave by {USUAL_KIND}"),
        Check("missing_value", "given_at", f"by_proxy_said AND {grants} AND given_at IS NULL",
              "what others gave for someone needs its day"),
        Check("missing_value", "birth_month", f"by_proxy_said AND {grants} AND birth_month IS NULL",
              "what others gave for someone needs the month of birth; it is not stored"),
        Check("proxy_missing", "by_proxy", f"{grants} AND NOT by_proxy_said AND given_at_day < grown",
              f"consent of someone below {ages.adult} is given by others for them"),
        Check("assent_missing", "assent", f"{grants} AND adult_due IS NOT NULL AND assent IS NULL AND "
              f"given_at_day >= born + INTERVAL {ages.assent} YEAR + INTERVAL 1 MONTH",
              f"a child of {ages.assent} or older is asked for assent"),
        Check("identifier", "participant_id", f"length(participant_id) >= {_SHORTEST} AND "
              f"{like_a_person('participant_id')}",
              "values look like resident numbers or the like; use an identifier of your own"),
        Check("identifier", "form_version", "personal",
              "values look like resident numbers or the like"),
    ]  # fmt: skip
    found += [
        Check(
            "bad_flag",
            name,
            f"{name} IS NOT NULL AND {name} NOT IN ({_list((*_YES, *_NO))})",
            "it is yes or no",
        )
        for name in _FLAGS
    ]
    found += [
        Check(code, "linkage_token", f"token_refusal = {literal(code)}", detail)
        for code, detail in WHY.items()
    ]
    return found


def is_flawless(ages: Ages) -> str:
    """Whether no line has anything wrong with it: most registers are, and need no counts."""
    wrong = " OR ".join(f"coalesce({c.wrong}, false)" for c in checks(ages))
    return f"SELECT count(*) = 0 FROM {_judged_rows()} WHERE {wrong}"


def judged(ages: Ages) -> str:
    """One row: for each of `checks` the number of lines, and the first of them."""
    asked = ", ".join(f"count(*) FILTER ({c.wrong}), min(__row, 20) FILTER ({c.wrong})" for c in checks(ages))
    return f"SELECT {asked} FROM {_judged_rows()}"


def _judged_rows() -> str:
    return (
        f"(SELECT *, {sql_refusal('linkage_token')} AS token_refusal, personal.form_version IS NOT NULL AS personal"
        f" FROM typed LEFT JOIN (SELECT form_version FROM forms WHERE {like_a_person('form_version')}) personal"
        " ON personal.form_version = typed.form_version)"
    )


def findings(row: Sequence[object], ages: Ages) -> Iterator[tuple[Finding, list[int]]]:
    """What `judged` found, with the rows to be told of each."""
    for i, check in enumerate(checks(ages)):
        count, rows = row[2 * i], row[2 * i + 1]
        if count and isinstance(count, int) and isinstance(rows, list):
            yield Finding(check.code, check.detail, None, check.column, count=count), rows


# More than one line of one person: (code, column, detail, query of the rows). `said` is `typed` with the person's
# number `n`, which is by the hash, so that two ways of writing one identifier are one person.
ACROSS: tuple[tuple[str, str | None, str, str], ...] = (
    (
        "duplicate_line", None, "the person and domain were named before in this file",
        "SELECT __row FROM (SELECT __row, n, domain, row_number() OVER (PARTITION BY n ORDER BY __row) AS nth,"
        " row_number() OVER (PARTITION BY n, domain ORDER BY __row) AS same,"
        " bool_or(domain = 'all') OVER (PARTITION BY n ORDER BY __row) AS every FROM said WHERE n IN "
        "(SELECT n FROM said GROUP BY n HAVING count(*) > count(DISTINCT domain) OR "
        "(count(*) > 1 AND bool_or(domain = 'all'))))"
        " WHERE same > 1 OR (nth > 1 AND every)",
    ),
    *(
        (
            "contradiction", name, "lines of one person say different things of the person",
            f"SELECT __row FROM said JOIN (SELECT n, min(__row) AS first, arg_min({value}, __row) AS told FROM said "
            f"WHERE {value} IS NOT NULL GROUP BY n HAVING count(DISTINCT {value}) > 1) USING (n) WHERE {value} <> told",
        )
        for name, value in (
            ("birth_month", "born"), ("deceased", "deceased_said"), ("linkage_token", "linkage_token"),
            ("may_link", "may_link_said"),
        )
    ),
)  # fmt: skip

# Whether lines of anybody may be at odds. One plain pass tells it of most registers, where each of `ACROSS` costs as
# much; it may say so of lines that are not (a domain that is none), and never the other way.
_BITS = " ".join(f"WHEN {literal(name)} THEN {1 << i}" for i, name in enumerate(DOMAINS))
AT_ODDS = (
    "SELECT coalesce(bool_or(lines > 1 AND (lines > bit_count(domains) OR differ)), false) FROM (SELECT count(*) AS"
    f" lines, bit_or(CASE domain {_BITS} ELSE 0 END) AS domains, min(born) <> max(born) OR"
    " min(deceased_said) <> max(deceased_said) OR min(linkage_token) <> max(linkage_token) OR"
    " min(may_link_said) <> max(may_link_said) AS differ FROM said GROUP BY n)"
)

_FLAGS = ("by_proxy", "may_link", "deceased")


def _day(name: str) -> str:
    shape = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    return f"CASE WHEN regexp_full_match({name}, '{shape}') THEN TRY_CAST({name} AS DATE) END"


def _month(name: str) -> str:
    return f"CASE WHEN regexp_full_match({name}, '[0-9]{{4}}-[0-9]{{2}}') THEN TRY_CAST({name} || '-01' AS DATE) END"


def _flag(name: str) -> str:
    unsaid = "false" if name == "by_proxy" else "NULL"
    return f"CASE WHEN {name} IN ({_list(_YES)}) THEN true WHEN {name} IN ({_list(_NO)}) THEN false ELSE {unsaid} END"


def shared() -> Iterator[str]:
    """What is the same on many lines is read once: `forms`, and `agreed` with the codes of each text of purposes,
    each once, sorted, and as a JSON list. Lists of Parquet and NDJSON come as texts in brackets."""
    yield "CREATE TEMP TABLE forms AS SELECT DISTINCT form_version FROM typed WHERE form_version IS NOT NULL"
    bare = "translate(upper(purposes), '[]\"'' ', '')"
    codes = f"list_sort(list_distinct(list_filter(regexp_split_to_array({bare}, '[;,]'), lambda x: x <> '')))"
    quoted = "array_to_string(list_transform(codes, lambda x: '\"' || x || '\"'), ', ')"
    yield (
        f"CREATE TEMP TABLE agreed AS SELECT purposes, codes, '[' || {quoted} || ']' AS json FROM "
        f"(SELECT purposes, {codes} AS codes FROM (SELECT DISTINCT purposes FROM typed WHERE purposes IS NOT NULL))"
    )


def _to(ages: Ages) -> str:
    # Where the institution is it may be tomorrow already.
    return f"DATE {literal((ages.today + timedelta(days=1)).isoformat())}"


def _list(words: Sequence[str]) -> str:
    return ", ".join(literal(word) for word in words)
