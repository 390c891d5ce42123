"""Every text, number and query of every request, fed what breaks SQL, paths, headers, formulas and parsers.

Never a 500, never the value in the answer that refuses it, never a connection to anywhere, nothing privileged set.
"""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import ColumnElement, literal_column

from app.models import Base
from tests.acceptance.test_bad_requests import routes
from tests.amounts import first as some
from tests.attack import matrix
from tests.attack.site import Site, filled, standing
from tests.schema import copy_into, copy_of

MARK = "kilroywashere"
TEXTS: dict[str, str] = {
    "sql": f"{MARK}' OR '1'='1'; DROP TABLE cohorts; --",
    "path": f"../../../../etc/{MARK}",
    "formula": f'=HYPERLINK("http://169.254.169.254/{MARK}")',
    "line": f"{MARK}\r\nSet-Cookie: a=b",
    "nul": f"{MARK}\0.parquet",
    "bidi": f"{MARK}\u202e\u2066gnp.exe",
    "huge": MARK * 60_000,
    "template": f"{{{{7*7}}}}${{7*7}}%s%n{MARK}",
    "url": f"http://169.254.169.254/latest/{MARK}",
    "at": f"@SUM(1+1)*cmd|' /C {MARK}'!A0",
    "tab": f"\t{MARK}",
    "lone": f"{MARK}\ud800",
    "like": f"%_{MARK}%\\",
    "script": f"<script>{MARK}</script>",
}
NUMBERS: tuple[str, ...] = (
    "1e400", "NaN", "-Infinity", str(2**63), str(-(2**63) - 1), "9" * 4000, "-1", "1.5", '"1"', "true", "null", "[]",
)  # fmt: skip
SHAPES = {
    "deep": "[" * 3000 + "]" * 3000, "deep objects": '{"a":' * 3000 + "1" + "}" * 3000, "no json": "{", "empty": "",
    "another kind": "7", "twice": '{"name": "a", "name": "b"}', "utf-16": "{\x00}\x00",
}  # fmt: skip
PRIVILEGED = {
    "id": "x_1", "state": "published", "role": "platform", "institution_id": "ins_other", "holder": "client:other",
    "created_by": "client:other", "revision": 99, "active": True, "is_admin": True, "scopes": ["platform:admin"],
    "applicant": "client:other", "approved": True, "key_wrapped": "AA==", "identity_key_wrapped": "AA==",
    "published_at": "2020-01-01T00:00:00Z", "generation": 7, "client_secret": "x", "password": "x",
}  # fmt: skip
WHERE = frozenset({"instance", "table", "column", "pointer"})
ANYTHING = (
    "POST /v1/withdrawals/{withdrawal_id}/receipt/verify"  # takes a document of any form and stores nothing
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("injection")) as made:
        yield made


@pytest.fixture(scope="module")
def before(site: Site) -> sqlite3.Connection:
    return copy_of(site.house.world.db)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt to reach another machine; there must be none."""
    tried: list[object] = []

    def refuse(_line: object, address: object) -> None:
        tried.append(address)
        raise OSError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **_: refuse(None, place))
    return tried


def asked(site: Site, prefix: str) -> Iterator[tuple[str, str]]:
    """Each route of these methods, with one who may and has the scopes."""
    rules = {**matrix.placed(), **{route: rule for route, (rule, _id) in matrix.LISTS.items()}}
    for method, path, scopes, every in routes(site.app):
        route = f"{method} {path}"
        if not re.match(prefix, method):
            continue
        for who, actor in site.actors.items():
            has = scopes <= actor.scopes if every else bool(scopes & actor.scopes)
            if has and rules[route](actor, site.facts).allowed:
                yield route, who
                break


def leaves(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Place and value of everything in a body that is no container."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*here, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*here, i))
    else:
        yield here, value


def planted(body: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy: Any = dict(body) if isinstance(body, dict) else list(body)
    copy[place[0]] = planted(copy[place[0]], place[1:], value)
    return copy


def whole(site: Site, route: str) -> Any:
    """The body of a route with a word for every property that its description knows and the matrix leaves out."""
    described = site.app.openapi()
    method, _, path = route.partition(" ")
    schema = described["paths"][path][method.lower()].get("requestBody", {})
    body = dict(site.bodies[route])
    for content in schema.get("content", {}).values():
        ref = content["schema"].get("$ref", "").rpartition("/")[2]
        for name, one in described["components"]["schemas"].get(ref, {}).get("properties", {}).items():
            kinds = {inner.get("type") for inner in one.get("anyOf", [one])}
            if name not in body and kinds & {"string"}:
                body[name] = "x"
    return body


def judged(site: Site, before: sqlite3.Connection, route: str, who: str, answer: Response) -> str:
    """What is wrong with an answer, if anything; what was changed is changed back."""
    told = ""
    if answer.status_code >= 500:
        told = f"{answer.status_code}"
    elif answer.status_code >= 400 and MARK in json.dumps(_without_where(answer.json())):
        told = "the value is in the refusal"
    elif any(MARK in value and name.lower() != "location" for name, value in answer.headers.items()):
        told = "the value is in a header"
    elif "set-cookie" in answer.headers:
        told = "a header was made"
    if answer.status_code < 400 and not route.startswith(("GET", "HEAD", "OPTIONS")):
        copy_into(before, site.house.world.db)
    return told and f"{route} by {who}: {told} {answer.text[:200]}"


def _without_where(problem: Any) -> Any:
    """A problem without what says where it is: the path, and names of tables and columns that the sender gave them."""
    if isinstance(problem, dict):
        return {k: _without_where(v) for k, v in problem.items() if k not in WHERE}
    return [_without_where(one) for one in problem] if isinstance(problem, list) else problem


def sent(site: Site, who: str, route: str, text: str) -> Response:
    """A body as it is written, whatever it is."""
    method, _, path = route.partition(" ")
    where = re.sub(r"\{(\w+)\}", lambda one: site.ids[one[1]], path)
    headers = {"Authorization": f"Bearer {who}", "Content-Type": "application/json", "If-Match": '"1"'}
    return site.http.request(method, where, content=text.encode("utf-8", "surrogatepass"), headers=headers)


@pytest.mark.parametrize("turn", some(1, range(len(TEXTS))))
def test_texts_in_bodies(site: Site, before: sqlite3.Connection, nowhere: list[object], turn: int) -> None:
    """Each turn gives every text of every body another one of these; together all get all."""
    wrong, number, kinds = list[str](), 0, list(TEXTS.values())
    for route, who in asked(site, "POST|PUT|PATCH|DELETE"):
        if route not in site.bodies:
            continue
        body = filled(whole(site, route), site.ids)
        for place, value in leaves(body):
            if not isinstance(value, str | None):
                continue
            number += 1
            bad = planted(body, place, kinds[(number + turn) % len(kinds)])
            answer = sent(site, who, route, json.dumps(bad))
            told = judged(site, before, route, who, answer)
            wrong.append(told and f"{place} {told}")
    assert "\n".join(one[:330] for one in wrong if one) == ""
    assert number > 120
    assert nowhere == []


@pytest.mark.again
def test_numbers_and_shapes(site: Site, before: sqlite3.Connection) -> None:
    wrong, number = list[str](), 0
    for i, (route, who) in enumerate(asked(site, "POST|PUT")):
        if route not in site.bodies:
            continue
        body = filled(whole(site, route), site.ids)
        for place, value in leaves(body):
            if isinstance(value, int | float) and not isinstance(value, bool):
                for bad in NUMBERS:
                    text = json.dumps(planted(body, place, "@here@")).replace('"@here@"', bad)
                    wrong.append(judged(site, before, route, who, sent(site, who, route, text)))
                    number += 1
        for name in list(SHAPES)[i % 3 :: 3]:
            answer = sent(site, who, route, SHAPES[name])
            told = judged(site, before, route, who, answer)
            wrong.append(told and f"{name}: {told}")
            number += 1
    assert "\n".join(one[:330] for one in wrong if one) == ""
    assert number > 150


def test_texts_in_queries_and_paths(site: Site, before: sqlite3.Connection, nowhere: list[object]) -> None:
    described, wrong, number, kinds = site.app.openapi(), list[str](), 0, list(TEXTS)
    for route, who in asked(site, "GET|DELETE|HEAD"):
        method, _, path = route.partition(" ")
        for one in described["paths"][path].get(method.lower(), {}).get("parameters", []):  # HEAD is GET's
            if one["in"] not in ("query", "path"):
                continue
            for name in (kinds[number % len(kinds)], kinds[(number + 5) % len(kinds)]):
                number += 1
                value = TEXTS[name].encode("utf-8", "replace").decode()[:3000]
                ids = {**site.ids, **({one["name"]: "@here@"} if one["in"] == "path" else {})}
                if "/files/" in path:
                    ids.setdefault("name", site.ids["part"])
                where = re.sub(r"\{(\w+)\}", lambda found, ids=ids: ids[found[1]], path)  # type: ignore[misc]
                where = where.replace("@here@", _escaped(value))
                query = f"{one['name']}={_escaped(value)}" if one["in"] == "query" else ""
                answer = site.http.request(
                    method, where, params=query, headers={"Authorization": f"Bearer {who}"}
                )
                told = judged(site, before, route, who, answer) if answer.content else ""
                wrong.append(told and f"{one['name']} {name}: {told}")
    assert "\n".join(one[:330] for one in wrong if one) == ""
    assert number > 100
    assert nowhere == []


def _escaped(value: str) -> str:
    from urllib.parse import quote

    return quote(value, safe="")


HEADERS = ("Idempotency-Key", "If-Match", "If-None-Match", "Range", "If-Range", "X-Request-Id", "Content-Type",
           "Accept", "Host", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Cookie", "Upload-Checksum",
           "Upload-Metadata", "Upload-Offset", "Upload-Length", "Content-Encoding",
           "X-HTTP-Method-Override")  # fmt: skip


@pytest.mark.parametrize("name", some(3, HEADERS))
def test_texts_in_headers(site: Site, before: sqlite3.Connection, name: str) -> None:
    wrong = []
    for route, who in (
        ("GET /v1/extracts/{extract_id}/files/{name}", "researcher"), ("POST /v1/cohorts", "hospital"),
        ("POST /v1/uploads", "hospital"), ("GET /v1/catalog", "researcher"),
    ):  # fmt: skip
        for text in (TEXTS["sql"], TEXTS["path"], "a" * 5000, "-1", "bytes=9-1,0-,-0", "\x80\xff", ""):
            method, _, path = route.partition(" ")
            where = re.sub(r"\{(\w+)\}", lambda one: {**site.ids, "name": site.ids["part"]}[one[1]], path)
            headers: Any = {
                "Authorization": f"Bearer {who}",
                "Tus-Resumable": "1.0.0",
                name: text.encode("latin-1"),
            }
            body = filled(site.bodies[route], site.ids) if route in site.bodies else None
            answer = site.http.request(method, where, json=body, headers=headers)
            told = judged(site, before, route, who, answer) if answer.content else ""
            wrong.append(told)
    assert "\n".join(one[:330] for one in wrong if one) == ""


def test_nothing_privileged_is_set_by_the_way(site: Site, before: sqlite3.Connection) -> None:
    """Every unknown property is refused, by name wherever the body is looked at."""
    wrong, named = list[str](), 0
    for route, who in asked(site, "POST|PUT"):
        if route not in site.bodies or route == ANYTHING:
            continue
        body = filled(site.bodies[route], site.ids)
        unknown = {n: v for n, v in PRIVILEGED.items() if n not in body and not _known(site, route, n)}
        if not unknown:
            continue
        answer = sent(site, who, route, json.dumps({**body, **unknown}))
        if answer.status_code < 400:
            wrong.append(f"{route}: takes {sorted(unknown)}")
            copy_into(before, site.house.world.db)
        elif answer.status_code == 422:
            passed = [name for name in unknown if f"/{name}" not in answer.text]
            named += not passed
            if passed:
                wrong.append(f"{route}: says nothing of {passed}")
        elif answer.status_code not in (403, 404, 409, 412):
            wrong.append(f"{route}: {answer.status_code} {answer.text[:200]}")
    assert wrong == []
    assert named > 25


def _known(site: Site, route: str, name: str) -> bool:
    described = site.app.openapi()
    method, _, path = route.partition(" ")
    schema = json.dumps(described["paths"][path][method.lower()].get("requestBody", {}))
    ref = re.search(r"#/components/schemas/(\w+)", schema)
    return ref is None or name in described["components"]["schemas"][ref[1]].get("properties", {})


def test_no_cell_of_a_csv_is_a_formula(site: Site, before: sqlite3.Connection) -> None:
    """Names and titles begin as formulas do; the files that are handed out hold them as texts."""
    with site.house.world.db.unit_of_work() as session:
        for table in Base.metadata.sorted_tables:
            for column in table.columns:
                if column.name in ("name", "title", "name_ko", "irb_reference") and table.name not in (
                    "parts",
                    "oauth_clients",
                ):
                    numbered: ColumnElement[Any] = literal_column(
                        f"""'=1+1;"{MARK}"' || rowid"""
                    )  # some are unique
                    session.execute(table.update().values({column.name: numbered}))
    cells = 0
    for route, who in (
        ("GET /v1/inspections/releases.csv", "inspector"), ("GET /v1/extracts/{extract_id}/recalls.csv", "researcher"),
    ):  # fmt: skip
        answer = site.call(who, route)
        assert answer.status_code == 200, answer.text
        assert re.fullmatch(
            r'attachment; filename="[A-Za-z0-9._-]+"',
            answer.headers.get("content-disposition", 'attachment; filename="x"'),
        )
        for row in csv.reader(io.StringIO(answer.text.lstrip("\ufeff"))):
            for cell in row:
                cells += 1
                assert not re.match(r"\s*[=+\-@]|[\t\r\n]", cell), (route, cell)
    assert cells > 20
    copy_into(before, site.house.world.db)
