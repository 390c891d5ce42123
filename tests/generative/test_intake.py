"""Whatever a file holds: what is accepted is what was written, and bad cells are counted as an oracle counts them."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.deid.roles import check_dictionary
from app.engines.intake import Bounds, IntakeEngine, IntakeLimits, TableReport
from app.storage.vault import Vault
from tests.amounts import tries

DICTIONARY = check_dictionary(
    {
        "tables": [
            {
                "name": "person", "kind": "participant",
                "fields": [
                    {"name": "id", "role": {"kind": "participant_id"}},
                    {"name": "n", "type": "integer", "role": {"kind": "attribute"}, "missing": {"-9": "refused"}},
                    {"name": "x", "type": "number", "role": {"kind": "attribute"}},
                    {"name": "t", "role": {"kind": "attribute"}},
                ],
            }
        ]
    }
)  # fmt: skip
# Letters that CSV, quoting, encodings and hangul care about; no digits, so that no identifier comes up by chance.
TEXT = st.text(alphabet=st.sampled_from("ab ,;\"'\n\t|가각힣é漢"), max_size=12)
# Numbers have few digits for the same reason: 1000000000 is a mobile number that lost its zero. Long ones are named.
INTEGERS = st.integers(-(10**5), 10**5)
NUMBERS = INTEGERS.map(lambda n: n / 8) | st.sampled_from(
    [0.1 + 0.2, 1e-7, -2.5e-9, 123456.789, 1e15, -4e300]
)
ROWS = st.lists(
    st.tuples(st.none() | INTEGERS, st.none() | NUMBERS, TEXT),
    min_size=1,
    max_size=30,
)
WRONG = st.sampled_from(["x", "1,5", "--1", "1e", "nan", "inf", "0x10", "1_000", "١"])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> IntakeEngine:
    folder = tmp_path_factory.mktemp("generative")
    vault = Vault.open((folder / "vault").as_uri())
    return IntakeEngine(vault, folder / "work", IntakeLimits("256MB", 1, Bounds(200, 2**30), 0.01))


def check(engine: IntakeEngine, content: bytes) -> tuple[TableReport, list[dict[str, Any]]]:
    def resolve(batches: Iterator[pa.Array]) -> pa.Table:
        ids = [one for batch in batches for one in batch.to_pylist()]
        assert len(set(ids)) == len(ids)
        keys = pa.array([int(one[1:]) for one in ids], pa.int32())
        return pa.table({"source": pa.array(ids, pa.string()), "key": keys})

    with tempfile.TemporaryDirectory() as folder, engine.open("job") as intake:
        path = Path(folder) / "person.csv"
        path.write_bytes(content)
        report = intake.check(path, DICTIONARY.people, DICTIONARY, {}, resolve, "v", lambda **_: None)
        if report.kept is None:
            return report, []
        return report, pq.read_table(
            engine.vault.local_path(report.kept.object_name, Path(folder))
        ).to_pylist()


def written(rows: list[list[object]], end: str) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator=end)
    writer.writerow(["id", "n", "x", "t"])
    writer.writerows([["" if value is None else value for value in row] for row in rows])
    return sink.getvalue().encode()


@settings(max_examples=tries(5, 60), suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n"]), order=st.randoms())
def test_what_is_accepted_is_what_was_written(engine: IntakeEngine, rows: Any, end: str, order: Any) -> None:
    lines = [[f"p{i}", n, x, t] for i, (n, x, t) in enumerate(rows)]
    expected = [
        {
            "__participant": i, "n": None if n == -9 else n, "n__missing": "refused" if n == -9 else None, "x": x,
            "t": t.strip(" \t\n\r\f\v") or None,
        }
        for i, (n, x, t) in enumerate(rows)
    ]  # fmt: skip
    order.shuffle(lines)
    report, held = check(engine, written(lines, end))
    assert (report.outcome, report.rows, report.people) == ("accepted", len(rows), len(rows))
    assert held == expected  # in the order of the people, whatever the order of the file


@pytest.mark.again
@settings(max_examples=tries(5, 60), suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=ROWS, bad=st.dictionaries(st.integers(0, 29), st.tuples(st.sampled_from([1, 2]), WRONG), min_size=1)
)
def test_wrong_cells_are_counted_and_placed(engine: IntakeEngine, rows: Any, bad: Any) -> None:
    lines: list[list[object]] = [[f"p{i}", n, x, t] for i, (n, x, t) in enumerate(rows)]
    hit = {place: one for place, one in bad.items() if place < len(lines)}
    for place, (column, value) in hit.items():
        lines[place][column] = value
    content = written(lines, "\n")
    report, held = check(engine, content)
    # The oracle reads the file by Python's own reader and knows where each record begins.
    begins, last = [], 1
    reader = csv.reader(io.StringIO(content.decode(), newline=""))
    for _ in reader:
        begins.append(last)
        last = reader.line_num + 1
    for column, name in ((1, "n"), (2, "x")):
        places = sorted(place for place, (where, _) in hit.items() if where == column)
        told = [(f.count, list(f.lines)) for f in report.findings if f.column == name]
        assert told == ([(len(places), [begins[place + 1] for place in places][:20])] if places else [])
    assert bool(held) is (not hit)
