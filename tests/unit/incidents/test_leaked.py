"""What can be a pseudonym is found in a file of any form, whatever it is called, and in bounded memory."""

from __future__ import annotations

import gzip
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import Problem
from app.incidents import leaked
from app.incidents.leaked import read

WORDS = tuple(sorted(f"{random.Random(i).getrandbits(64):016x}" for i in range(500)))


def csv() -> bytes:
    return ("who,age\n" + "\n".join(f"{word},4{i % 10}" for i, word in enumerate(WORDS)) + "\n").encode()


def test_parquet_by_any_name_and_any_kind_of_text(tmp_path: Path) -> None:
    table = pa.table({
        "plain": pa.array(WORDS[:100]), "coded": pa.array(WORDS[100:200]).dictionary_encode(),
        "loud": pa.array([f" {word.upper()} " for word in WORDS[200:300]]), "number": pa.array(range(100)),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "holiday.jpg")
    found = read(tmp_path / "holiday.jpg", 200)
    assert (found.form, found.words) == ("parquet", WORDS[:300])


DRESSES: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda text: text,
    "tabs": lambda text: text.replace(b",", b"\t"),
    "utf-16": lambda text: text.decode().encode("utf-16"),
    "upper case": lambda text: text.upper(),
    "quotes": lambda text: text.replace(b"\n", b'"\r\n"'),
}


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_text_in_any_dress(tmp_path: Path, dress) -> None:
    (tmp_path / "x").write_bytes(dress(csv()))
    found = read(tmp_path / "x", 200)
    assert (found.form, found.words) == ("text", WORDS)


def test_packed_files(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(csv()))
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", "".join(f"<si><t>{word}</t></si>" for word in WORDS))
    assert read(tmp_path / "a.gz", 200).words == read(tmp_path / "b.xlsx", 200).words == WORDS
    (tmp_path / "cut.gz").write_bytes(gzip.compress(csv())[:2000])
    assert 0 < len(read(tmp_path / "cut.gz", 200).words) < len(WORDS)


def test_no_word_is_cut_where_two_chunks_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (97, 200, 1000):
        monkeypatch.setattr(leaked, "CHUNK", size)
        (tmp_path / "x").write_bytes(csv())
        assert read(tmp_path / "x", 200).words == WORDS


def test_what_is_longer_or_shorter_is_no_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaked, "CHUNK", 50)
    (tmp_path / "x").write_text(
        " ".join(word + word for word in WORDS) + " " + " ".join(w[:15] for w in WORDS)
    )
    assert read(tmp_path / "x", 200).words == ()


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"\1" * 30_000_000))
    with pytest.raises(Problem, match="payload_too_large"):
        read(tmp_path / "x.gz", 10)


def test_what_members_of_a_zip_hold_counts_together(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(8):
            archive.writestr(str(number), b"\1" * leaked.CHUNK)
    assert (tmp_path / "x.zip").stat().st_size < 16_000
    with pytest.raises(Problem, match="payload_too_large"):
        read(tmp_path / "x.zip", 4)
    assert read(tmp_path / "x.zip", 1000).form == "zip"


def test_of_very_many_words_an_even_sample_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaked, "MOST_WORDS", 100)
    (tmp_path / "x").write_bytes(csv())
    (tmp_path / "y").write_bytes(b"\n".join(reversed(csv().splitlines())))
    found = read(tmp_path / "x", 200).words
    assert len(found) == 100
    assert found == read(tmp_path / "y", 200).words
