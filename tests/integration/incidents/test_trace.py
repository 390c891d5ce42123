"""A leaked file names its project, extract and generations, in whatever form it comes, and no person."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app.cli import app
from app.models import AuditLine, Participant
from tests.integration.incidents.site import HOLDER, Site


@pytest.fixture(scope="module")
def aged(shared: Site) -> Site:
    """The first extract in its third generation: two people left, one after the other."""
    shared.first = shared.paths()[0].read_bytes()
    shared.left = [shared.world.keys[4], shared.world.keys[6]]
    shared.names = shared.world.pseudonyms(shared.extract)
    for key in shared.left:
        shared.withdraw(key)
    return shared


def copy(site: Site, path: Path, query: str, options: str = "(FORMAT csv)", extract_id: str = "") -> Path:
    """Rows of the extract as somebody saved them elsewhere."""
    files = [str(one) for one in site.paths(extract_id)]
    duckdb.execute(
        f"COPY (SELECT * FROM ({query.replace('parts', f'read_parquet({files!r})')})) TO '{path}' {options}"
    )
    return path


def only(found: dict[str, Any]) -> dict[str, Any]:
    [one] = found["origins"]
    assert isinstance(one, dict)
    return one


def test_the_bytes_of_a_part_are_known_under_any_name_also_when_they_are_long_replaced(
    aged: Site, tmp_path: Path
) -> None:
    now = aged.paths()[0].read_bytes()
    for content in (now, aged.first):
        (tmp_path / "holiday.jpg").write_bytes(content)
        one = only(aged.tracing().trace(tmp_path / "holiday.jpg", "shell"))
        assert (one["extract_id"], one["project_id"], one["confidence"]) == (
            aged.extract,
            aged.project,
            "exact",
        )
        assert one["table"] == "person"


def test_a_copy_of_some_rows_in_another_order_and_form_is_known_by_its_pseudonyms(
    aged: Site, tmp_path: Path
) -> None:
    some = "SELECT age AS x, upper(pid) AS who FROM parts ORDER BY hash(pid) LIMIT 20"
    for path, options in (("a.csv", "(FORMAT csv)"), ("b.json", "(FORMAT json)"), ("c", "(FORMAT parquet)"),
                          ("d.tsv.gz", "(FORMAT csv, DELIMITER '\t', COMPRESSION gzip)")):  # fmt: skip
        one = only(aged.tracing().trace(copy(aged, tmp_path / path, some, options), "shell"))
        assert (one["extract_id"], one["confidence"], one["matched"]) == (aged.extract, "high", 20)
        assert one["chance"] < 1e-100


def test_who_was_recalled_tells_how_old_a_copy_is(aged: Site, tmp_path: Path) -> None:
    first, second = (aged.names[key] for key in aged.left)
    stays = [aged.names[key] for key in aged.world.keys[7:13] if key % 20 != 0]
    for gone, last in (([], 3), ([second], 2), ([first], 1), ([second, first], 1)):
        (tmp_path / "x.txt").write_text("\n".join([*gone, *stays]))
        assert only(aged.tracing().trace(tmp_path / "x.txt", "shell"))["generations"] == [1, last]


@pytest.mark.again
def test_each_project_is_told_from_the_other_and_a_mixture_names_both(aged: Site, tmp_path: Path) -> None:
    theirs = copy(aged, tmp_path / "theirs.csv", "SELECT pid FROM parts LIMIT 5", extract_id=aged.second)
    assert only(aged.tracing().trace(theirs, "shell"))["extract_id"] == aged.second
    both = tmp_path / "both.csv"
    both.write_text(
        theirs.read_text() + copy(aged, tmp_path / "b", "SELECT pid FROM parts LIMIT 9").read_text()
    )
    found = aged.tracing().trace(both, "shell")["origins"]
    assert [(one["extract_id"], one["matched"]) for one in found] == [(aged.extract, 9), (aged.second, 5)]


def test_one_pasted_pseudonym_is_little_and_foreign_words_are_nothing(aged: Site, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(f"see {aged.names[aged.world.keys[8]]} there")
    assert only(aged.tracing().trace(tmp_path / "x", "shell"))["confidence"] == "low"
    draw = random.Random(7)
    (tmp_path / "y").write_text("\n".join(f"{draw.getrandbits(64):016x}" for _ in range(5000)))
    found = aged.tracing().trace(tmp_path / "y", "shell")
    assert (found["words"], found["origins"]) == (5000, [])


def test_the_record_ids_of_a_project_are_not_taken_for_its_people(aged: Site, tmp_path: Path) -> None:
    files = [str(one) for one in aged.paths(table="visit")]
    duckdb.execute(f"COPY (SELECT vid FROM read_parquet({files!r})) TO '{tmp_path / 'v.csv'}' (FORMAT csv)")
    assert aged.tracing().trace(tmp_path / "v.csv", "shell")["origins"] == []


def test_what_is_told_and_written_down_names_no_person(aged: Site, tmp_path: Path) -> None:
    found = aged.tracing().trace(copy(aged, tmp_path / "x.csv", "SELECT * FROM parts"), "shell")
    with aged.db.read() as session:
        line = session.scalars(select(AuditLine).where(AuditLine.event == "leak.traced")).all()[-1]
        people = session.scalars(select(Participant)).all()
    told = json.dumps([found, line.data, line.object_id], default=str)
    secrets = {
        *aged.names.values(),
        *(p.identity.hex() for p in people),
        *(p.random_id.hex() for p in people),
    }
    assert not [one for one in secrets if one in told]
    assert (line.object_id, line.data["origins"]) == (found["sha256"], [aged.extract])


@pytest.mark.again
def test_from_the_shell(aged: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = copy(aged, tmp_path / "x.csv", "SELECT * FROM parts LIMIT 30")
    monkeypatch.setenv("BAEKMAN_DATABASE_URL", aged.db.url)
    monkeypatch.setenv("BAEKMAN_VAR", str(tmp_path))
    monkeypatch.setattr("app.main.rooms.open_keyring", lambda _settings: aged.world.keyring)
    run = CliRunner().invoke(app, ["trace", str(leak)])
    assert run.exit_code == 0, run.output
    assert all(
        word in run.output for word in ("high", aged.project, aged.extract, "client:researcher", "30 people")
    )
    run = CliRunner().invoke(app, ["trace", str(leak), "--json"])
    assert json.loads(run.output)["origins"][0]["matched"] == 30
    (tmp_path / "empty").write_bytes(b"")
    assert CliRunner().invoke(app, ["trace", str(tmp_path / "empty")]).exit_code == 1


@pytest.mark.again
def test_a_parquet_file_that_is_cut_off_is_looked_through_as_it_is(aged: Site, tmp_path: Path) -> None:
    table = pq.read_table(aged.paths()[0])
    pq.write_table(
        table, tmp_path / "x.parquet", compression="none", use_dictionary=False, column_encoding="PLAIN"
    )
    whole = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(whole[: len(whole) // 2])
    found = aged.tracing().trace(tmp_path / "x.parquet", "shell")
    assert found["form"] == "text"
    assert only(found)["extract_id"] == aged.extract


def test_who_took_back_one_of_two_domains_is_still_in_what_was_published_since(
    aged: Site, tmp_path: Path
) -> None:
    key = aged.world.keys[22]
    aged.withdraw(key, "lifelog")
    (tmp_path / "x.txt").write_text(aged.names[key])
    newest = aged.extracts.get(HOLDER, aged.extract)["generation"]
    assert only(aged.tracing().trace(tmp_path / "x.txt", "shell"))["generations"] == [1, newest]
