"""Pseudonyms, shifts and keyed ids: what they are made of, that they are unique, and that bad input is refused."""

import hashlib
import hmac
import tracemalloc

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from app.deid.keyed import keyed_id, keyed_ids, record_key, register, space_key
from app.deid.pseudonyms import (
    SHIFT_WINDOW_DAYS,
    PseudonymError,
    macs,
    pseudonyms,
    shift_days,
    subkey,
)
from app.deid.transforms.rendering import keyed_name

KEY = bytes(range(32))


def random_ids(count: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(7).integers(0, 256, (count, 16), dtype=np.uint8)


def test_a_pseudonym_is_half_a_block_of_aes_256_under_the_subkey():
    ids = random_ids(100)
    words = macs(subkey(KEY, "pseudonym"), ids)
    assert [one.decode() for one in pseudonyms(KEY, ids)] == [f"{word:016x}" for word in words.tolist()]


def test_the_block_is_that_of_the_standard():
    """FIPS 197, appendix C.3."""
    plain = np.frombuffer(bytes.fromhex("00112233445566778899aabbccddeeff"), dtype=np.uint8).reshape(1, 16)
    assert f"{int(macs(KEY, plain)[0]):x}" == "8ea2b7ca516745bf"


def test_subkeys_are_hkdf_expand_and_differ_by_purpose():
    assert subkey(KEY, "shift") == hmac.digest(KEY, b"baekman/1 shift\x01", hashlib.sha256)
    assert len({subkey(KEY, purpose) for purpose in ("pseudonym", "shift", "record", "count")}) == 4


def test_batches_do_not_show_in_the_result():
    ids = random_ids(70_000)
    whole = macs(KEY, ids)
    assert (whole == np.concatenate([macs(KEY, ids[:65_537]), macs(KEY, ids[65_537:])])).all()
    assert (macs(KEY, ids[::-1]) == whole[::-1]).all()


def test_no_people_have_no_pseudonyms():
    nobody = random_ids(0)
    assert len(pseudonyms(KEY, nobody)) == len(shift_days(KEY, nobody)) == 0


def test_an_id_given_twice_is_refused_with_counts_only():
    ids = random_ids(10)
    ids[3] = ids[7]
    with pytest.raises(PseudonymError, match=r"^1 of 10 pseudonyms are not unique$"):
        pseudonyms(KEY, ids)


@pytest.mark.parametrize(
    "ids",
    [np.zeros((2, 15), np.uint8), np.zeros((2, 16), np.int64), np.zeros(16, np.uint8)],
    ids=["short", "type", "flat"],
)
def test_ids_of_another_shape_are_refused(ids: np.ndarray):
    with pytest.raises(PseudonymError):
        pseudonyms(KEY, ids)


def test_a_key_of_another_length_is_refused():
    with pytest.raises(PseudonymError):
        pseudonyms(KEY[:31], random_ids(1))


def test_every_week_of_the_window_is_drawn_about_equally_often_and_zero_never():
    days, counts = np.unique(shift_days(KEY, random_ids(26_000)), return_counts=True)
    weeks = SHIFT_WINDOW_DAYS // 7
    assert days.tolist() == [7 * week for week in range(-weeks, weeks + 1) if week]
    assert counts.min() > 350  # expected 500, standard deviation 22
    assert counts.max() < 650


def test_a_window_below_a_week_is_refused():
    with pytest.raises(PseudonymError):
        shift_days(KEY, random_ids(1), window=6)


def test_shifts_and_pseudonyms_tell_nothing_of_each_other():
    ids = random_ids(20_000)
    first = np.array([int(one, 16) for one in pseudonyms(KEY, ids)], dtype=np.float64)
    assert abs(np.corrcoef(first, shift_days(KEY, ids))[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("value", "block"),
    [
        ("12", b"12" + bytes(13) + b"\x02"),
        ("1" * 15, b"1" * 15 + b"\x0f"),
        ("1" * 16, hashlib.sha256(b"1" * 16).digest()[:15] + b"\xff"),
        ("가" * 9, hashlib.sha256("가".encode() * 9).digest()[:15] + b"\xff"),
    ],
)
def test_a_keyed_id_is_half_a_block_of_aes_256_under_the_key_of_its_space(value: str, block: bytes):
    key = subkey(subkey(KEY, "record"), "space record:visit")
    whole = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)
    assert keyed_id(KEY, "record:visit", value) == whole.hex()[:16]


def test_the_spaces_of_keyed_ids_cannot_run_together():
    assert keyed_id(KEY, "record:visit1", "2") != keyed_id(KEY, "record:visit", "12")


def test_ids_of_all_lengths_are_keyed_together_as_they_are_alone():
    values = ["", "1", "\0", "1\0", "가나다라마", "x" * 300, "1234567", "1" * 15, "1" * 16, "1" * 255]
    key = space_key(record_key(KEY), "s")
    column = pa.chunked_array([pa.array(["?", *values]).slice(1), pa.array(values[:3])])
    assert keyed_ids(key, column).to_pylist() == [keyed_id(KEY, "s", v) for v in [*values, *values[:3]]]
    assert len(set(keyed_ids(key, pa.array(values)).to_pylist())) == len(values)
    with pytest.raises(PseudonymError):
        keyed_ids(key, pa.array(["1", None]))


def test_a_connection_keys_whole_columns_and_holds_no_key():
    with duckdb.connect() as con:
        register(con, record_key(KEY), ["a", "b"])
        con.execute(
            "CREATE TABLE t AS SELECT CASE WHEN i % 3 > 0 THEN i::VARCHAR END AS v FROM range(5000) r(i)"
        )
        found = con.sql(
            f"SELECT v, {keyed_name('a')}(v), {keyed_name('b')}(v) FROM t ORDER BY rowid"
        ).fetchall()
        assert con.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(1,)]
    assert found[0] == (None, None, None)
    assert found[4999] == ("4999", keyed_id(KEY, "a", "4999"), keyed_id(KEY, "b", "4999"))


def test_many_ids_take_little_memory():
    ids = random_ids(200_000)
    tracemalloc.start()
    macs(KEY, ids)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000 * 8 + 16 * 2**20
