"""The report: one page that fetches and runs nothing, says what was measured, and escapes what people wrote."""

import json
import re
from datetime import date
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from app.deid.report import ANALYSES, page, per_cent
from app.deid.risk import PROFILE, Bounds, RiskReport, measure, statement
from app.deid.risk.utility import CATALOGUE
from tests.unit.deid.risk_tables import crosswalk, dictionary, files_of, plan

NASTY = '<script>alert("1")</script>'
RAW = [{"key": k, "sex": ("M", NASTY)[k % 2], "age": 20 + k % 4, "salary": "low"} for k in range(40)]
OUT = [{**row, "age": "[20, 30)"} for row in RAW[:36]]
VISITS = [
    {"key": key, "code": code, "day": date(2020, 1 + key % 2, 3), "value": float(key)}
    for key in range(30)
    for code in "ABCD"[: 3 + key % 2]
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RiskReport:
    folder = tmp_path_factory.mktemp("report")
    known = dictionary()
    raw, out = files_of(folder, RAW, OUT, VISITS, VISITS)
    pairs = pa.table({"key": list(range(20)), "age": [str(i // 2) for i in range(20)]})
    earlier = [("project <b>", pairs), ("project <i>", None)]
    bounds = Bounds(folder, memory="512MB", threads=1)
    return measure(
        raw, out, crosswalk(range(40)), known, plan(known), bounds, plan_hash="a" * 64, earlier=earlier
    )


class Reader(HTMLParser):
    """Collects tags, attributes and open tags that were never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.stray: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link", "img", "input", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.stray.append(tag)


@pytest.fixture(scope="module")
def read(report: RiskReport) -> Reader:
    reader = Reader()
    reader.feed(page(report))
    return reader


def test_the_page_is_whole(read: Reader):
    assert (read.open, read.stray) == ([], [])


def test_the_page_runs_and_fetches_nothing(report: RiskReport, read: Reader):
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "image", "use"}
    for _, attributes in read.tags:
        assert not {"src", "href", "xlink:href", "action"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    html = page(report)
    assert not re.search(r"url\(|@import|https?://", html)
    assert "default-src 'none'" in html


def test_what_people_wrote_is_escaped(report: RiskReport):
    html = page(report)
    assert NASTY not in html
    assert "&lt;script&gt;" in html
    assert "project &lt;b&gt;" in html


def test_every_picture_is_well_formed_and_has_a_title(report: RiskReport):
    pictures = re.findall(r"<svg.*?</svg>", page(report), re.DOTALL)
    assert len(pictures) >= 5
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        title = root.find("title")
        assert title is not None
        assert title.text == root.attrib["aria-label"]
        widths = [float(r.attrib["width"]) for r in root.iter("rect")]
        assert all(0 <= width <= 800 for width in widths)


def test_the_bars_tell_the_figures(report: RiskReport):
    pictures = re.findall(r"<svg.*?</svg>", page(report), re.DOTALL)
    risks = next(p for p in pictures if "Risk before and after" in p)
    root = ElementTree.fromstring(risks)
    bars = {kind: [float(r.attrib["width"]) for r in root.iter("rect") if r.attrib["class"] == kind] for kind in
            ("before", "after")}  # fmt: skip
    # Largest risks: four raw classes of ten people, two released of eighteen; the room is 432 wide.
    assert bars["before"][0] == pytest.approx(432 / 10, abs=0.1)
    assert bars["after"][0] == pytest.approx(432 / 18, abs=0.1)


def test_both_languages_are_there(report: RiskReport):
    html = page(report)
    assert 'lang="ko"' in html
    for words in ("재식별 위험", "Risk, before and after", "집단 크기", "Class sizes", "유용성", "Utility"):
        assert words in html
    assert set(ANALYSES) == set(CATALOGUE)


def test_the_page_never_says_anonymous(report: RiskReport):
    assert not re.search(r"anonymous|익명", page(report), re.IGNORECASE)


def test_the_document_is_json_and_repeats_the_page(report: RiskReport):
    document: dict[str, Any] = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["profile"] == PROFILE
    assert (document["people"], document["released"], document["suppressed_share"]) == (40, 36, 0.1)
    assert document["uniqueness"]["after"]["smallest"] == 18
    # The earlier release pairs people by twos; in this one each pair has one of either sex: crowds of one.
    (met,) = document["intersections"]
    assert (met["both"]["people"], met["both"]["smallest"], met["needs_signature"]) == (20, 1, True)
    assert document["not_compared"] == ["project <i>"]
    assert "must be signed for: 1" in page(report)


def test_the_statement_tells_no_count(report: RiskReport):
    said = statement(report)
    shares = [
        said["sensitive_gain_at_most"],
        *said["utility"].values(),
        *(said["event_attack"] or {}).values(),
    ]
    numbers = [x for x in shares if isinstance(x, int | float) and not isinstance(x, bool)]
    assert numbers
    assert all(x == round(x, 2) for x in numbers)
    assert all(0 <= x <= 3 for x in numbers)
    assert not {str(n) for n in (40, 36)} & set(re.findall(r"\d+", json.dumps(said)))


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.5143, "51.4 %"),
        (0.0004, "0.04 %"),
        (0.9996, "99.96 %"),
        (1e-9, "< 0.001 %"),
    ],
)
def test_shares_as_people_read_them(share: float, words: str):
    assert per_cent(share) == words
