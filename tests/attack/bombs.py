"""Files that are made to hurt whoever reads them, and a process of its own that checks them within limits.

`python -m tests.attack.bombs FOLDER` checks every file of the folder as an upload and says of each what was found.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.deid.roles import check_dictionary
from app.engines.intake import Bounds, IntakeEngine, IntakeLimits
from app.storage.vault import Vault


def dictionary(form: str) -> dict[str, Any]:
    """One table of people, as CSV or Parquet."""
    fields = [
        {"name": "pid", "role": {"kind": "participant_id"}},
        {"name": "note", "role": {"kind": "attribute"}},
        {"name": "x", "type": "integer", "role": {"kind": "number"}},
    ]
    table = {"name": "person", "kind": "participant", "format": form, "fields": fields}
    return {"tables": [table]}


def parquet(rows: int = 100, note: Any = None, **options: Any) -> bytes:
    """A good file."""
    pids = pa.array([f"P{i}" for i in range(rows)])
    notes = note if note is not None else pa.array([f"n{i % 7}" for i in range(rows)])
    sink = io.BytesIO()
    options.setdefault("compression", "zstd")
    pq.write_table(pa.table({"pid": pids, "note": notes, "x": pa.array(range(rows))}), sink, **options)
    return sink.getvalue()


def _varint(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)  # zigzag
    out = bytearray()
    while True:
        out.append(number & 0x7F | (0x80 if number > 0x7F else 0))
        number >>= 7
        if not number:
            return bytes(out)


def footer(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The file with another footer, its length put right."""
    size = int.from_bytes(content[-8:-4], "little")
    made = change(content[-8 - size : -8])
    return content[: -8 - size] + made + len(made).to_bytes(4, "little") + b"PAR1"


def claimed(rows: int, claim: int) -> bytes:
    """Whatever the footer calls `rows`, it calls `claim`."""
    return footer(parquet(rows), lambda told: told.replace(_varint(rows), _varint(claim)))


def repeated(kilobytes: int, rows: int) -> bytes:
    """One long value that cannot be packed, stored once and named by every row: small in the file and in its footer."""
    value = random.Random(1).randbytes(kilobytes * 512).hex()
    notes = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))
    return parquet(rows, notes, row_group_size=rows, write_statistics=False)


def packed(megabytes: int) -> bytes:
    """A page that unpacks to a thousand times its size, in a file that hides it behind one that does not."""
    filler = random.Random(2).randbytes(megabytes * 2**20 // 150).hex()
    notes = pa.array(["a" * megabytes * 2**20, filler])
    return parquet(2, notes, use_dictionary=False, write_statistics=False)


def page(uncompressed: int) -> bytes:
    """A page whose own head claims to be larger than anything; the page ends where it ended."""
    content = parquet(1000, use_dictionary=False, write_statistics=False)
    meta = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(1)
    begin, end = meta.data_page_offset, meta.data_page_offset + meta.total_compressed_size
    size = begin + 3  # after the field of the type: 15 00 15
    after = size + 1
    while content[after - 1] & 0x80:
        after += 1
    claim = _varint(uncompressed)
    kept = end - (len(claim) - (after - size))
    return content[:size] + claim + content[after:kept] + content[end:]


def nested(deep: int) -> bytes:
    """A column of records in records."""
    value: Any = pa.array(["a"])
    for _ in range(deep):
        value = pa.StructArray.from_arrays([value], names=["x"])
    return parquet(1, value)


def wide(columns: int) -> bytes:
    """A footer of many columns."""
    names = {"pid": pa.array(["P"]), "note": pa.array(["n"]), "x": pa.array([1])}
    sink = io.BytesIO()
    more = {f"c{i}": names["x"] for i in range(columns)}
    pq.write_table(pa.table({**names, **more}), sink, write_statistics=False, store_schema=False)
    return sink.getvalue()


def flipped(seed: int) -> bytes:
    """A good file with a few bytes of its footer changed."""
    chance = random.Random(seed)

    def change(told: bytes) -> bytes:
        made = bytearray(told)
        for _ in range(chance.choice((1, 2, 8))):
            made[chance.randrange(len(made))] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        return bytes(made)

    return footer(parquet(50), change)


def damaged(seed: int) -> bytes:
    """A good file with a few bytes of its pages changed."""
    chance = random.Random(seed)
    made = bytearray(parquet(400, compression=chance.choice(("none", "zstd", "snappy", "gzip"))))
    size = int.from_bytes(made[-8:-4], "little")
    for _ in range(chance.choice((1, 3, 20))):
        made[chance.randrange(4, len(made) - 8 - size)] = chance.randrange(256)
    return bytes(made)


def cut(seed: int) -> bytes:
    """The beginning of a good file."""
    content = parquet(50)
    return content[: random.Random(seed).randrange(1, len(content))]


def _seeds(made: Callable[[int], bytes], name: str, seeds: range) -> dict[str, Callable[[], bytes]]:
    return {f"{name} {seed}": partial(made, seed) for seed in seeds}


# Name -> (the file, the codes of which one must be found; empty: whatever is found, it is found without a crash).
PARQUET: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "claims a billion rows": (lambda: claimed(12_345, 10**9), {"bomb"}),
    "claims 2^62 rows": (lambda: claimed(12_345, 2**62), {"bomb"}),
    "claims minus one row": (lambda: claimed(12_345, -1), {"unreadable", "truncated"}),
    "one value in every row": (lambda: repeated(900, 200_000), {"bomb"}),
    "a value of two megabytes": (lambda: parquet(2, pa.array(["a", "b" * 2**21])), {"bomb"}),
    "a packed page": (lambda: packed(60), {"bomb"}),
    "a page of two gigabytes": (lambda: page(2**31 - 1), {"unreadable", "bomb"}),
    "a page of less than nothing": (lambda: page(-5), {"unreadable"}),
    "records in records": (lambda: nested(60), {"wrong_type"}),
    "ten thousand columns": (lambda: wide(10_000), {"too_many_columns"}),
    **{name: (made, set[str]()) for name, made in _seeds(flipped, "flipped", range(40)).items()},
    **{name: (made, set[str]()) for name, made in _seeds(damaged, "damaged", range(40)).items()},
    **{name: (made, {"truncated", "not_parquet"}) for name, made in _seeds(cut, "cut", range(10)).items()},
}
HEAD, ROW = b"pid,note,x\n", b"P1,n,1\n"
CSV: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "a line without end": (lambda: HEAD + b"a" * (8 * 2**20), {"line_too_long"}),
    "a head without end": (lambda: b"pid" * (2**20), {"line_too_long"}),
    "a quote without end": (lambda: HEAD + b'P1,"' + b"a\n" * (8 * 2**20), {"bad_quotes"}),
    "a quote that ends late": (lambda: HEAD + b'P1,"' + b'a""\n' * 2**20 + b'",1\n', {"bad_quotes"}),
    "a quote in the head without end": (lambda: b'pid,note,"x' + b"a\n" * (8 * 2**20), {"bad_quotes"}),
    "columns without end": (
        lambda: HEAD[:-1] + b"".join(b",c%d" % i for i in range(130_000)) + b"\n" + ROW, {"too_many_columns"},
    ),
    "columns of one name": (lambda: HEAD[:-1] + b",x" * 400_000 + b"\n" + ROW, {"too_many_columns"}),
    "columns without a name": (lambda: HEAD[:-1] + b"," * 1_000_000 + b"\n" + ROW, {"too_many_columns"}),
    "a row without end": (lambda: HEAD + ROW + b"P2,n,1" + b",1" * 500_000 + b"\n", {"ragged_row"}),
    "bad rows": (lambda: HEAD + b"P,n\n" * 100_000, {"ragged_row"}),
    "nothing but quotes": (lambda: HEAD + b'"' * 900_000 + b"\n", {"ragged_row", "bad_quotes"}),
    "digits without end": (lambda: HEAD + b"P1,n," + b"9" * 900_000 + b"\n", {"wrong_type"}),
    "gzip": (lambda: gzip.compress(HEAD + ROW * 5_000_000), {"not_csv"}),
}  # fmt: skip


def check(folder: Path) -> None:
    """Check every file of the folder; one line of JSON each, the last tells the most memory there ever was."""
    engine = IntakeEngine(
        Vault.open((folder / "vault").as_uri()),
        folder / "work",
        IntakeLimits("512MB", 2, Bounds(200, 2**30), 0.01),
    )
    for path in sorted(folder.glob("*.parquet")) + sorted(folder.glob("*.csv")):
        whole = check_dictionary(dictionary(path.suffix[1:]))
        with engine.open(path.stem.replace(" ", "-")) as intake:
            report = intake.check(path, whole.tables[0], whole, {}, _resolve, "v", lambda **_: None)
        told = {
            "name": path.stem,
            "outcome": report.outcome,
            "codes": sorted({f.code for f in report.findings}),
        }
        sys.stdout.write(json.dumps({**told, "findings": len(report.findings)}) + "\n")
        sys.stdout.flush()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(json.dumps({"most_mb": most}) + "\n")


def _resolve(ids: Iterator[pa.Array]) -> pa.Table:
    known = sorted({one for batch in ids for one in batch.to_pylist()})
    return pa.table({"source": pa.array(known, pa.string()), "key": pa.array(range(len(known)), pa.int32())})


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
    check(Path(sys.argv[1]))
