"""`baekman deid`: a flat file de-identified, measured and re-checked from the shell; bad input is refused whole."""

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from app.workbench import deid_app
from tests.amounts import first

ROOT = Path(__file__).resolve().parents[2]
SEXES, CITIES = ("F", "M"), ("Seoul", "Busan", "Daegu")
LEVELS = [["Seoul", "north", "*"], ["Busan", "south", "*"], ["Daegu", "south", "*"]]
DOCUMENT: dict[str, Any] = {
    "hierarchies": {
        "city": {"kind": "table", "levels": LEVELS},
        "age": {"kind": "interval", "bounds": [0, 120], "widths": [5, 10, 20]},
        "sex": {"kind": "flat"},
        "code": {"kind": "prefix", "lengths": [3]},
    },
    "tables": [{"name": "people", "kind": "participant", "fields": [
        {"name": "id", "role": {"kind": "participant_id"}},
        {"name": "sex", "role": {"kind": "quasi_identifier", "hierarchy": "sex"}},
        {"name": "age", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "age"}},
        {"name": "city", "role": {"kind": "quasi_identifier", "hierarchy": "city"}},
        {"name": "salary", "role": {"kind": "sensitive", "l": 2}},
        {"name": "code", "role": {"kind": "code", "vocabulary": "KCD", "roll_up": "code"}},
        {"name": "seen", "type": "date", "role": {"kind": "date", "mode": "shift"}},
        {"name": "weight", "type": "number", "role": {"kind": "number", "round": 5.0}},
        {"name": "mobile", "role": {"kind": "direct_identifier"}},
    ]}],
}  # fmt: skip
NAMES = [field["name"] for field in DOCUMENT["tables"][0]["fields"]]


def person(i: int) -> dict[str, str]:
    """One made-up row; nothing in it is random, so that every run has the same people."""
    return {
        "id": f"P{i:04}", "sex": SEXES[i % 2], "age": str(20 + i * 7 % 60), "city": CITIES[i * 5 % 3],
        "salary": ("low", "middle", "high")[i * 11 % 3], "code": "E11.9" if i % 40 else "Z99.1",
        "seen": f"{2014 + i % 9}-{1 + i % 12:02}-{1 + i % 28:02}", "weight": f"{50 + i % 40}.5",
        "mobile": f"010-1234-{i:04}",
    }  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with data.csv, d.json and p.json."""
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        writer.writerows(person(i) for i in range(240))
    (tmp_path / "d.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "p.json").write_text(json.dumps({"k": 5, "reserve": 1}))
    return tmp_path


def deid(*words: object) -> Result:
    return CliRunner().invoke(deid_app, [str(word) for word in words])


def usual(desk: Path, command: str, out: str, *more: str) -> Result:
    return deid(
        command, desk / "data.csv", "--dictionary", desk / "d.json", "--privacy", desk / "p.json", "--out", desk / out,
        "--json", *more,
    )  # fmt: skip


def released(out: Path) -> list[dict[str, Any]]:
    (path,) = (out / "people").glob("*.parquet")
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


@pytest.mark.again
@pytest.mark.parametrize("method", first(1, ["local", "global"]))
def test_run_in_a_process_of_its_own(desk: Path, method: str):
    (desk / "p.json").write_text(json.dumps({"k": 5, "reserve": 1, "method": method}))
    given = ["--dictionary", desk / "d.json", "--privacy", desk / "p.json", "--out", desk / "out", "--json"]
    command = [sys.executable, "-m", "app.cli", "deid", "run", str(desk / "data.csv"), *map(str, given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "verifying" in done.stderr
    said = json.loads(done.stdout)
    rows = released(desk / "out")
    classes = Counter((row["sex"], row["age"], row["city"]) for row in rows)
    salaries: dict[tuple[str, ...], set[str]] = {}
    for row in rows:
        salaries.setdefault((row["sex"], row["age"], row["city"]), set()).add(row["salary"])
    assert min(classes.values()) == said["k_reached"] >= 6
    assert min(map(len, salaries.values())) >= 2
    assert said["people"]["released"] == len(rows)
    assert (said["classes"], said["verified"]) == (len(classes), True)


def test_what_leaves_and_what_does_not(desk: Path):
    assert usual(desk, "run", "out").exit_code == 0
    rows = released(desk / "out")
    assert list(rows[0]) == ["id", "sex", "age", "city", "salary", "code", "seen", "weight"]
    # Six people of 240 have Z99.1, five are enough; nobody else has a code of the chapter.
    assert Counter(row["code"] for row in rows) == {"E11.9": 234, "Z99.1": 6}
    assert all(row["weight"] % 5 == 0 for row in rows)
    files = [path for path in (desk / "out").rglob("*") if path.is_file()]
    everything = b"".join(path.read_bytes() for path in files)
    # Five letters are in what is packed by chance.
    texts = b"".join(path.read_bytes() for path in files if path.suffix != ".parquet")
    texts += json.dumps(rows, default=str).encode()
    for i in range(240):
        assert person(i)["mobile"].encode() not in everything
        assert person(i)["id"].encode() not in texts


@pytest.mark.again
def test_rows_are_in_the_order_of_fresh_pseudonyms(desk: Path):
    orders = []
    for out in ("one", "two"):
        assert usual(desk, "run", out).exit_code == 0
        ids = [row["id"] for row in released(desk / out)]
        assert ids == sorted(ids)
        assert len(set(ids)) == 240
        orders.append(ids)
    assert not set(orders[0]) & set(orders[1])


@pytest.mark.again
def test_equal_labels_whatever_the_order_of_the_file(desk: Path):
    assert usual(desk, "run", "one").exit_code == 0
    lines = (desk / "data.csv").read_text().splitlines()
    (desk / "data.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert usual(desk, "run", "two").exit_code == 0
    both = [
        Counter((r["sex"], r["age"], r["city"], r["salary"]) for r in released(desk / o))
        for o in ("one", "two")
    ]
    assert both[0] == both[1]


def test_the_certificate_promises_what_was_verified(desk: Path):
    assert usual(desk, "run", "out").exit_code == 0
    paper = json.loads((desk / "out" / "certificate.json").read_text())
    assert (paper["k"], paper["quasi_identifiers"]) == (5, ["sex", "age", "city"])
    assert "anonym" not in json.dumps(paper).casefold()
    manifest = json.loads((desk / "out" / "manifest.json").read_text())
    (part,) = manifest["tables"][0]["parts"]
    assert (desk / "out" / "people" / part["name"]).stat().st_size == part["bytes"]


@pytest.mark.again
def test_parquet_and_excel_s_korean_csv_give_the_same_release(desk: Path):
    assert usual(desk, "run", "csv").exit_code == 0
    table = pa.Table.from_pylist([person(i) | {"age": int(person(i)["age"])} for i in range(240)])
    pq.write_table(table, desk / "data.parquet")
    (desk / "korean.csv").write_bytes(
        (desk / "data.csv").read_text().replace("Seoul", "서울").encode("cp949")
    )
    document = json.loads(json.dumps(DOCUMENT).replace("Seoul", "\\uc11c\\uc6b8"))
    document["tables"][0]["encoding"] = "cp949"
    (desk / "k.json").write_text(json.dumps(document))
    for file, words, out in (("data.parquet", "d.json", "pq"), ("korean.csv", "k.json", "ko")):
        done = deid(
            "run",
            desk / file,
            "--dictionary",
            desk / words,
            "--privacy",
            desk / "p.json",
            "--out",
            desk / out,
        )
        assert done.exit_code == 0, done.output
    told = [Counter((r["sex"], r["age"]) for r in released(desk / out)) for out in ("csv", "pq", "ko")]
    assert told[0] == told[1] == told[2]


def test_a_release_is_rechecked_and_a_changed_one_refused(desk: Path):
    assert usual(desk, "run", "out").exit_code == 0
    good = deid("verify", desk / "out", "--json")
    assert good.exit_code == 0
    assert json.loads(good.stdout)["verified"] is True
    assert (
        deid("verify", desk / "out", "--dictionary", desk / "d.json", "--privacy", desk / "p.json").exit_code
        == 0
    )
    (path,) = (desk / "out" / "people").glob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    rows[0]["age"] = "33"
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    bad = deid("verify", desk / "out", "--json")
    assert bad.exit_code == 1
    assert {"bytes_changed", "class_below_k", "name_not_content"} <= codes(bad)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda out: (out / "people" / "more.parquet").write_bytes(b"x"), "table_unexpected"),
        (lambda out: next((out / "people").glob("*.parquet")).unlink(), "part_unreadable"),
        (lambda out: edit(out / "plan.json", lambda d: d["privacy"].update(k=2)), "plan_differs"),
    ],
)
def test_a_tampered_folder_is_refused(desk: Path, spoil: Callable[[Path], None], code: str):
    assert usual(desk, "run", "out").exit_code == 0
    spoil(desk / "out")
    done = deid("verify", desk / "out", "--json")
    assert done.exit_code == 1
    assert code in codes(done)


@pytest.mark.again
def test_a_board_may_ask_for_more_than_the_plan(desk: Path):
    assert usual(desk, "run", "out").exit_code == 0
    (desk / "strict.json").write_text(json.dumps({"k": 200}))
    done = deid("verify", desk / "out", "--privacy", desk / "strict.json", "--json")
    assert done.exit_code == 1
    assert "class_below_k" in codes(done)


@pytest.mark.again
def test_the_report(desk: Path):
    done = usual(desk, "report", "risk")
    assert done.exit_code == 0, done.output
    document = json.loads((desk / "risk" / "risk.json").read_text())
    # Ages repeat every 60 people, sexes every 2, cities every 3: 60 raw classes of four.
    before = document["uniqueness"]["before"]
    assert (before["people"], before["classes"], before["smallest"], before["max_risk"]) == (240, 60, 4, 0.25)
    assert document["uniqueness"]["after"]["smallest"] >= 6
    assert (desk / "risk" / "risk.html").read_text().startswith("<!doctype html>")
    assert {path.name for path in (desk / "risk").iterdir()} == {"risk.json", "risk.html"}
    assert "정확한" in (desk / "risk" / "risk.html").read_text()


@pytest.mark.again
def test_scan_finds_what_is_not_declared(desk: Path):
    found = deid("scan", desk / "data.csv", "--json")
    assert found.exit_code == 1
    hits = {hit["column"]: hit for hit in json.loads(found.stdout)["hits"]}
    assert hits["mobile"]["cells"] == 240
    assert hits["mobile"]["lines"] == [2, 3, 4, 5, 6]
    assert "010-1234" not in found.output
    declared = deid("scan", desk / "data.csv", "--dictionary", desk / "d.json", "--json")
    assert declared.exit_code == 0
    assert json.loads(declared.stdout)["hits"] == []


@pytest.mark.again
def test_a_draft_can_be_run(desk: Path):
    done = deid("draft", desk / "data.csv", "--out", desk / "draft", "--json")
    assert done.exit_code == 0, done.output
    roles = {c["column"]: c["role"] for c in json.loads(done.stdout)["columns"]}
    assert roles == {
        "id": "participant_id", "sex": "quasi_identifier", "age": "quasi_identifier", "city": "quasi_identifier",
        "salary": "quasi_identifier", "code": "quasi_identifier", "seen": "date", "weight": "quasi_identifier",
        "mobile": "direct_identifier",
    }  # fmt: skip
    run = deid(
        "run", desk / "data.csv", "--dictionary", desk / "draft/dictionary.json", "--out", desk / "out"
    )
    assert run.exit_code == 0, run.output


@pytest.mark.again
def test_every_command_takes_dictionary_privacy_and_out_and_leaves_something_to_review(desk: Path):
    draft, out = desk / "draft", desk / "out"
    assert usual(desk, "scan", "seen").exit_code == 0
    assert usual(desk, "draft", "draft").exit_code == 0
    assert usual(desk, "run", "out").exit_code == 0
    assert usual(desk, "report", "risk").exit_code == 0
    board = ("--dictionary", desk / "d.json", "--privacy", desk / "p.json", "--out", desk / "seen")
    rechecked = deid("verify", out, *board)
    assert rechecked.exit_code == 0, rechecked.output
    for path in (
        "seen/scan.json",
        "seen/verify.json",
        "draft/levels.json",
        "risk/risk.html",
        "out/certificate.json",
    ):
        assert (desk / path).stat().st_size > 50, path
    # What the institution had said of its columns stays, and so do its limits.
    kept = json.loads((draft / "dictionary.json").read_text())
    assert [f["role"]["kind"] for f in kept["tables"][0]["fields"]] == [
        f["role"]["kind"] for f in DOCUMENT["tables"][0]["fields"]
    ]
    assert kept["hierarchies"] == DOCUMENT["hierarchies"]
    assert json.loads((draft / "privacy.json").read_text())["k"] == 5
    assert [s["labels"] for s in json.loads((draft / "levels.json").read_text())["city"]] == [3, 2, 1]


@pytest.mark.again
def test_a_draft_finds_the_delimiter_keeps_leading_zeros_and_takes_coordinates_for_an_address(tmp_path: Path):
    head = "id;zip;LAT;region_code;dx\n"
    rows = [
        f"P{i:03};0{1000 + i % 90};{37 + i / 1000:.6f};{(11110, 26110)[i % 2]};{('E11.9', 'I10', 'J45')[i % 3]}"
        for i in range(120)
    ]
    (tmp_path / "f.csv").write_text(head + "\n".join(rows) + "\n")
    done = deid("draft", tmp_path / "f.csv", "--out", tmp_path / "d", "--json")
    assert done.exit_code == 0, done.output
    said = {c["column"]: (c["role"], c["type"]) for c in json.loads(done.stdout)["columns"]}
    assert said["zip"] == ("quasi_identifier", "string")
    assert said["LAT"] == ("direct_identifier", "number")
    document = json.loads((tmp_path / "d/dictionary.json").read_text())
    assert document["tables"][0]["delimiter"] == ";"
    assert document["hierarchies"]["region_code"]["kind"] == "region"
    assert document["hierarchies"]["dx"]["kind"] == "icd"
    drafted = ("--dictionary", tmp_path / "d/dictionary.json", "--out", tmp_path / "out")
    assert deid("run", tmp_path / "f.csv", *drafted).exit_code == 0


@pytest.mark.again
def test_a_draft_without_ids_says_so(desk: Path):
    rows = [line.split(",", 1)[1] for line in (desk / "data.csv").read_text().splitlines()]
    (desk / "data.csv").write_text("\n".join(rows) + "\n")
    drafted = deid("draft", desk / "data.csv", "--out", desk / "draft")
    assert "--rows-are-people" in drafted.output
    words = (
        "run",
        desk / "data.csv",
        "--dictionary",
        desk / "draft/dictionary.json",
        "--out",
        desk / "out",
        "--json",
    )
    assert codes(deid(*words)) == {"missing_column"}
    assert deid(*words, "--rows-are-people").exit_code == 0
    assert json.loads((desk / "out/certificate.json").read_text())["people_are"] == "rows"


@pytest.mark.again
def test_dummy_data_without_a_file(desk: Path):
    done = deid("dummy", "--dictionary", desk / "d.json", "--out", desk / "dummy", "--people", 30, "--json")
    assert done.exit_code == 0
    assert pq.read_table(desk / "dummy/people.parquet").num_rows == 30


# --- bad input ----------------------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def codes(done: Result) -> set[str]:
    return {one["code"] for one in json.loads(done.stdout)["problems"]}


def refused(desk: Path) -> set[str]:
    done = usual(desk, "run", "out")
    assert done.exit_code == 1
    assert not (desk / "out").exists()
    assert sorted(path.name for path in desk.iterdir() if path.name.startswith(".")) == []
    return codes(done)


def role(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(f for f in document["tables"][0]["fields"] if f["name"] == name)
    return found


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], set[str]]] = {
    "not covered": (lambda d: d["hierarchies"]["city"]["levels"].pop(0), {"hierarchy_not_covered"}),
    "cycle": (
        lambda d: d["hierarchies"]["city"].update(
            levels=[["Seoul", "Busan", "x", "*"], ["Busan", "x", "Seoul", "*"], ["Daegu", "y", "y", "*"]]
        ),
        {"hierarchy_cycle"},
    ),
    "not nested": (
        lambda d: d["hierarchies"]["city"].update(
            levels=[["Seoul", "a", "b", "*"], ["Busan", "a", "c", "*"], ["Daegu", "d", "c", "*"]]
        ),
        {"hierarchy_not_nested"},
    ),
    "widths do not nest": (
        lambda d: d["hierarchies"]["age"].update(widths=[5, 12]),
        {"hierarchy_not_nested"},
    ),
    "no quasi-identifier": (
        lambda d: [role(d, n).update(role={"kind": "direct_identifier"}) for n in ("sex", "age", "city")],
        {"no_quasi_identifier"},
    ),
    "contradictory roles": (
        lambda d: (
            role(d, "age")["role"].update(min_level=3, max_level=1),
            role(d, "seen").update(type="string"),
        ),
        {"contradiction"},
    ),
    "more values than k": (lambda d: role(d, "salary")["role"].update(l=9), {"contradiction"}),
    "unknown column": (lambda d: d["tables"][0]["fields"].pop(), {"unknown_column"}),
    "missing column": (
        lambda d: d["tables"][0]["fields"].append({"name": "bmi", "role": {"kind": "attribute"}}),
        {"missing_column"},
    ),
    "wrong type": (lambda d: role(d, "weight").update(type="integer"), {"wrong_type"}),
    "unknown role": (lambda d: role(d, "sex")["role"].update(kind="secret"), {"unknown_role"}),
}


@pytest.mark.parametrize("case", first(4, [*BAD]))
def test_a_bad_dictionary_is_refused_before_any_work(desk: Path, case: str):
    change, expected = BAD[case]
    edit(desk / "d.json", change)
    assert refused(desk) == expected


def test_k_larger_than_the_cohort(desk: Path):
    (desk / "p.json").write_text(json.dumps({"k": 240}))
    assert refused(desk) == {"too_few_people"}


def test_a_person_with_two_rows(desk: Path):
    with (desk / "data.csv").open("a") as file:
        file.write(",".join(person(7).values()) + "\n")
    assert refused(desk) == {"duplicate_key"}


def test_everything_that_is_wrong_is_told_at_once(desk: Path):
    for case in ("not covered", "widths do not nest", "contradictory roles", "missing column", "wrong type"):
        edit(desk / "d.json", BAD[case][0])
    (desk / "p.json").write_text(json.dumps({"k": 400}))
    assert refused(desk) == {
        "hierarchy_not_covered", "hierarchy_not_nested", "contradiction", "missing_column", "wrong_type",
        "too_few_people",
    }  # fmt: skip


def test_no_value_stands_in_a_refusal(desk: Path):
    edit(desk / "d.json", BAD["not covered"][0])
    done = deid("run", desk / "data.csv", "--dictionary", desk / "d.json", "--out", desk / "out")
    assert done.exit_code == 1
    assert "hierarchy_not_covered" in done.output
    assert "Seoul" not in done.output


@pytest.mark.parametrize("privacy", [{"k": 1}, {"k": "five"}, {"kk": 5}, [5]])
def test_bad_privacy_settings(desk: Path, privacy: Any):
    (desk / "p.json").write_text(json.dumps(privacy))
    assert refused(desk) == {"bad_privacy"}


@pytest.mark.parametrize("text", ["", "a,a\n1,2\n", '"open\n'])
def test_a_file_that_is_none(desk: Path, text: str):
    (desk / "data.csv").write_text(text)
    done = usual(desk, "run", "out")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["code"] == "invalid_request"


def test_ragged_lines_are_told_by_number(desk: Path):
    lines = (desk / "data.csv").read_text().splitlines()
    lines.insert(3, "P9,F")
    (desk / "data.csv").write_text("\n".join(lines) + "\n")
    done = usual(desk, "run", "out")
    (finding,) = [f for f in json.loads(done.stdout)["problems"] if f["code"] == "unreadable_rows"]
    assert (finding["lines"], finding["count"]) == ([4], 1)


@pytest.mark.again
def test_a_folder_with_something_in_it_is_left_alone(desk: Path):
    assert usual(desk, "run", "out").exit_code == 0
    before = sorted(path.name for path in (desk / "out").rglob("*"))
    assert usual(desk, "run", "out").exit_code == 1
    assert sorted(path.name for path in (desk / "out").rglob("*")) == before
    shutil.rmtree(desk / "out")
    (desk / "out").mkdir()
    assert usual(desk, "run", "out").exit_code == 0
