"""The handbook is true: generated pages are those of the code; links, files, tests and routes that it names exist."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

from app.audit.events import EVENTS
from app.deid.roles import check_dictionary
from app.errors import CODES
from app.schemas import dictionary as dictionaries
from docs import generate, words
from tests.architecture.test_house import TRACE, repository_files

ROOT = Path(__file__).resolve().parents[2]
PROSE = sorted(path for path in repository_files() if path.suffix == ".md")


# --- generated pages


@cache
def pages() -> dict[str, str]:
    """Every generated page as the code stands; made once, to write them takes a second."""
    return generate.pages()


def stale(folder: Path, what_the_code_says: dict[str, str]) -> list[str]:
    """The generated pages in a folder that are not what the code says."""
    return [
        name
        for name, text in what_the_code_says.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text
    ]


def test_the_generated_pages_are_those_of_the_code():
    assert stale(ROOT / "docs", pages()) == [], "run `make docs`"


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with every generated page as it should be."""
    for name, text in pages().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_page_that_was_edited_or_lost_is_found(fresh: Path):
    assert stale(fresh, pages()) == []
    (fresh / "settings.md").write_text("# Settings\n", encoding="utf-8")
    (fresh / "errors.md").unlink()
    assert stale(fresh, pages()) == ["errors.md", "settings.md"]


@pytest.mark.again
def test_a_change_of_the_code_makes_a_page_stale(fresh: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CODES, "not_found", (404, "Another title", "다른 제목"))
    assert stale(fresh, generate.pages()) == ["errors.md"]


def test_a_code_that_nobody_explained_cannot_be_documented(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CODES, "brand_new", (409, "New", "새로움"))
    with pytest.raises(KeyError, match="brand_new"):
        generate.pages()


def test_every_word_is_about_something_that_exists():
    roles = {kind for kind in words.LEAVES if kind not in dictionary_roles()}
    models = vars(dictionaries)
    fields = {f"{n}.{f}" for n, m in models.items() for f in getattr(m, "model_fields", {})}
    assert set(words.WHAT_TO_DO) == set(CODES)
    assert set(words.WHAT_HAPPENED) == EVENTS
    assert roles == set()
    assert set(words.PROPERTIES) <= fields


def dictionary_roles() -> set[str]:
    text = (ROOT / "docs" / "dictionary.md").read_text(encoding="utf-8").split("## Roles")[1]
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


# --- what prose refers to


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(path: Path, text: str) -> Iterator[str]:
    """Relative links of a page that lead to no file, or to no heading of it."""
    without_code = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            yield target


def missing_places(text: str) -> Iterator[str]:
    """Files, folders and tests named in code marks that are not there: `app/db.py`, `tests/x.py::test_y`."""
    for place in re.findall(r"`((?:app|tests|docs|migrations|benchmarks)/[\w./-]*(?:::\w+)?)`", text):
        name, _, test = place.partition("::")
        if not (ROOT / name).exists() or (test and f"def {test}(" not in (ROOT / name).read_text("utf-8")):
            yield place


@cache
def served() -> frozenset[str]:
    contexts = iter_route_contexts(generate.application().routes)
    return frozenset(re.sub(r"\{\w+\}", "{}", context.path_format or "") for context in contexts)


def unknown_routes(text: str) -> Iterator[str]:
    """Paths of the API that no route answers; `$NAME` and `{name}` stand for an id."""
    for path in re.findall(r"(?<![\w.])(?:\$BASE)?(/(?:v1|oauth)/[\w/{}$.-]*[\w}])", text):
        plain = re.sub(r"\$\w+|\{\w+\}|\{\}", "{}", path)
        fixed = re.sub(r"/(files|tables)/[^/]+$", r"/\1/{}", plain)
        if fixed not in served():
            yield path


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_page_refers_to_exists(path: Path):
    text = path.read_text(encoding="utf-8")
    assert list(dead_links(path, text)) == []
    assert list(missing_places(text)) == []
    assert list(unknown_routes(text)) == []


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_names_no_machine_and_no_registry(path: Path):
    text = path.read_bytes()
    assert not TRACE.search(text)
    assert not re.search(rb"(?<![\w.:/])/(home|Users|tmp|var)/|localhost:\d", text)


def test_planted_faults_are_found():
    page = ROOT / "README.md"
    assert list(dead_links(page, "[a](docs/none.md) [b](#no-such-heading) [c](https://example.org)")) == [
        "docs/none.md", "#no-such-heading",
    ]  # fmt: skip
    assert list(missing_places("`app/db.py` `app/none.py` `tests/unit/test_docs.py::test_none`")) == [
        "app/none.py", "tests/unit/test_docs.py::test_none",
    ]  # fmt: skip
    assert list(unknown_routes("$BASE/v1/cohorts/$COHORT /v1/cohort /oauth/token /v1/extracts/$E/files/a.parquet")) == [
        "/v1/cohort"
    ]  # fmt: skip


# --- examples


def test_the_dictionary_of_the_readme_is_accepted():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    written = re.findall(r"cat > dictionary\.json <<'END'\n(.*?)\nEND\n", text, re.DOTALL)
    assert len(written) == 1
    assert {table.name for table in check_dictionary(json.loads(written[0])).tables} == {"people", "visits"}
