"""Who can reach another machine: a list of files, each with where it goes and who says so; nobody over the API does.

So no URL that somebody sends is ever fetched. What looks like one is a name (a DOI, an ORCID) or a place that a browser
is sent back to; each is on the second list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ways_out import served

APP = Path(__file__).parents[2] / "app"
# What opens connections, or starts a program that could.
REACHING = frozenset(
    {
        "aiohttp", "asyncio", "boto3", "dbos", "ftplib", "http.client", "httpcore2", "httpx", "httpx2", "imaplib",
        "obstore", "paramiko", "poplib", "psycopg", "pyspark", "requests", "smtplib", "socket", "socketserver", "ssl",
        "subprocess", "telnetlib", "urllib.request", "urllib3", "uvicorn", "websockets", "xmlrpc",
    }
)  # fmt: skip
_BASE = "the database of the operator's settings"
_STORE = "the stores of the operator's settings"
_SPARK = "the Spark of the operator's setting `spark`"
_DEMO = "the demo: a client of the service that it started on this machine"
REACHES: dict[str, str] = {
    "backups/postgresql.py": _BASE,
    "jobs/bells.py": _BASE,
    "jobs/engine.py": _BASE,
    "storage/kinds.py": _STORE,
    "storage/s3.py": _STORE,
    "storage/store.py": _STORE,
    "engines/spark/opening.py": _SPARK,
    "engines/spark/session.py": _SPARK,
    "keyring/masters.py": "the program of the operator's setting `master_key_command`",
    "main/working.py": "nowhere: it asks this machine for its name",
    "cli/__init__.py": "nowhere: it listens",
    "operating/listening.py": "nowhere: it listens",
    "demo/client.py": _DEMO,
    "demo/server.py": _DEMO,
}
# Names of parameters and properties by which something like a URL comes in -> what becomes of it.
_NAME = "a name that is stored and shown; links to it are made from its checked form"
TAKEN: dict[str, str] = {
    "redirect_uri": "compared with those of the client, then a browser is sent there; never fetched",
    "redirect_uris": "registered by the platform's administration, https or loopback; never fetched",
    "link": "what a signature is over: ids and times; no place, and nothing is fetched",
    "jwks": "public keys themselves; what of them is no key, such as a URL, is dropped",
    "doi": _NAME,
    "orcid": _NAME,
    "ror": _NAME,
}
LOOKS_LIKE_ONE = re.compile(
    r"(^|_)(url|uri|uris|urls|href|link|endpoint|host|callback|webhook|site|jwks|doi|orcid|ror)($|_)"
)
NO_URL = {"linkage", "may_link", "linkage_token"}


def reaching(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, module) of every import of what can reach another machine."""
    words = re.compile("|".join(sorted({one.partition(".")[0] for one in REACHING})))
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text("utf-8")
        for node in (
            ast.walk(ast.parse(text)) if words.search(text) else ()
        ):  # a file is read in a ms, parsed in ten
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                names = [str(node.args[0].value)] if called in ("import_module", "__import__") else []
            for name in names:
                if any(name == one or name.startswith(f"{one}.") for one in REACHING):
                    yield str(path.relative_to(folder)), name


def test_only_these_files_can_reach_another_machine() -> None:
    assert {file for file, _module in reaching(APP)} == set(REACHES)


def test_a_planted_import_is_found_however_it_is_written(tmp_path: Path) -> None:
    for number, text in enumerate(
        ("import httpx2 as h", "from urllib import request", "def f():\n    import http.client",
         "import importlib\nimportlib.import_module('socket')", "import urllib.request")
    ):  # fmt: skip
        (tmp_path / f"f{number}.py").write_text(text)
    (tmp_path / "fine.py").write_text("from urllib.parse import urlsplit\nimport http\nimport socketless")
    assert {file for file, _module in reaching(tmp_path)} == {f"f{number}.py" for number in range(5)}


def test_what_looks_like_a_url_is_decided_on() -> None:
    described = served().openapi()
    found = {name for name in _names(described) if LOOKS_LIKE_ONE.search(name)} - NO_URL
    assert {name for name in found if name not in TAKEN} == set()
    assert LOOKS_LIKE_ONE.search("webhook_url")
    assert LOOKS_LIKE_ONE.search("callback")


def _names(described: dict[str, Any]) -> Iterator[str]:
    """Every name of a parameter or of a property of a body that is sent."""
    schemas, seen = described["components"]["schemas"], set[str]()

    def within(schema: Any) -> Iterator[str]:
        if isinstance(schema, list):
            for one in schema:
                yield from within(one)
        if not isinstance(schema, dict):
            return
        ref = str(schema.get("$ref", "")).rpartition("/")[2]
        if ref and ref not in seen:
            seen.add(ref)
            yield from within(schemas[ref])
        yield from schema.get("properties", {})
        for key in ("properties", "items", "anyOf", "allOf", "oneOf", "additionalProperties", "prefixItems"):
            inner = schema.get(key)
            yield from within(list(inner.values()) if key == "properties" and inner else inner)

    for methods in described["paths"].values():
        for operation in methods.values():
            yield from (one["name"] for one in operation.get("parameters", []))
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield from within(content["schema"])
