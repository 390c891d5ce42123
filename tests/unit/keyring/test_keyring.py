"""Keys are wrapped by one master, opened by several, and come from one place; a KMS is a program that is asked."""

from __future__ import annotations

import base64
import secrets
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.keyring import KEY_BYTES, Keyring, KeyringError, open_keyring
from app.keyring.masters import CommandMaster
from app.settings import Settings

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)

# A KMS with two keys, of which the newest wraps; XOR is enough to see that it was asked.
KMS = """
import base64, sys
verb = sys.argv[1]
if verb == "id":
    print("kms-key-7")
else:
    given = base64.b64decode(sys.stdin.readline())
    print(base64.b64encode(bytes(b ^ 0x5A for b in given)).decode())
"""


def _settings(folder: Path, **given: Any) -> Settings:
    return Settings(_env_file=None, var=folder, **given)


def _b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _program(folder: Path, text: str) -> list[str]:
    path = folder / "kms.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def test_a_key_comes_back_and_only_under_its_master() -> None:
    ring, key = Keyring(NEW), secrets.token_bytes(32)
    wrapped = ring.wrap(key)
    assert key not in wrapped
    assert ring.unwrap(wrapped) == key
    with pytest.raises(KeyringError, match="not here"):
        Keyring(OLD).unwrap(wrapped)
    for place in (8, len(wrapped) - 1):
        altered = bytearray(wrapped)
        altered[place] ^= 1
        with pytest.raises(KeyringError, match="altered"):
            ring.unwrap(bytes(altered))


def test_rotation_opens_both_and_wraps_by_the_new_one() -> None:
    before, both, after = Keyring(OLD), Keyring(NEW, OLD), Keyring(NEW)
    wrapped = before.new()
    key = before.unwrap(wrapped)
    assert both.unwrap(wrapped) == key
    again = both.rewrap(wrapped)
    assert again is not None
    assert after.unwrap(again) == key
    assert both.rewrap(again) is None
    assert Keyring.master_of(again) == both.current == after.current
    assert both.known == {before.current, after.current}
    with pytest.raises(KeyringError, match="not here"):
        after.rewrap(wrapped)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_master_key_has_32_bytes(length: int) -> None:
    with pytest.raises(KeyringError, match="32 bytes"):
        Keyring(b"k" * length)


def test_the_master_key_comes_from_environment_file_or_program(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(_b64(NEW) + "\n")
    program = " ".join(_program(tmp_path, KMS))
    by_word = open_keyring(_settings(tmp_path, master_key=SecretStr(_b64(NEW))))
    by_file = open_keyring(_settings(tmp_path, master_key_file=file))
    by_kms = open_keyring(_settings(tmp_path, master_key_command=program))
    assert by_word.current == by_file.current == Keyring(NEW).current != by_kms.current
    assert len(by_kms.unwrap(by_kms.new())) == KEY_BYTES
    assert not (tmp_path / "master.key").exists()
    own = open_keyring(_settings(tmp_path))
    assert own.current == open_keyring(_settings(tmp_path)).current
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


def test_it_does_not_come_from_two_places(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="one place"):
        open_keyring(_settings(tmp_path, master_key=SecretStr(_b64(NEW)), master_key_command="kms"))


def test_older_keys_come_from_environment_and_file(tmp_path: Path) -> None:
    third = secrets.token_bytes(32)
    file = tmp_path / "older"
    file.write_text(f"{_b64(OLD)}\n{_b64(third)}\n")
    given = {"master_key": SecretStr(_b64(NEW)), "older_master_keys_file": file}
    ring = open_keyring(_settings(tmp_path, **given))
    assert ring.known == {Keyring(key).current for key in (OLD, NEW, third)}
    given = {
        "master_key": SecretStr(_b64(NEW)),
        "older_master_keys": SecretStr(f"{_b64(OLD)}, {_b64(third)}"),
    }
    assert open_keyring(_settings(tmp_path, **given)).known == ring.known


@pytest.mark.parametrize("text", ["", "no base64 !", "c2hvcnQ="])
def test_what_is_no_key_is_told_without_itself(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    for given in ({"master_key_file": file}, {"master_key": SecretStr(text or "!")}):
        with pytest.raises(KeyringError, match="BAEKMAN_MASTER_KEY") as refused:
            open_keyring(_settings(tmp_path, **given))
        assert not text or text not in str(refused.value)
    with pytest.raises(KeyringError, match="cannot be read"):
        open_keyring(_settings(tmp_path, master_key_file=tmp_path / "absent"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys; sys.exit(3)", "refused to id"),
        ("print('')", "told no key"),
        ("import sys; print('k') if sys.argv[1] == 'id' else print('%%%')", "no base64"),
        ("import sys; print('k') if sys.argv[1] == 'id' else print(sys.stdin.readline())", "unwrapped"),
        ("import sys; print('k') if sys.argv[1] == 'id' else sys.exit('the secret')", "refused to wrap"),
    ],
)
def test_a_kms_that_fails_is_told_in_our_words(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(KeyringError, match=told) as refused:
        Keyring(CommandMaster(_program(tmp_path, text))).new()
    assert "the secret" not in str(refused.value)


def test_a_kms_program_that_is_absent() -> None:
    with pytest.raises(KeyringError, match="cannot be started"):
        CommandMaster(["/nowhere/kms"])


def test_a_kms_sees_little_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAEKMAN_VAULT_SECRET", "hidden")
    monkeypatch.setenv("KMS_REGION", "seoul")
    text = "import os; print(sorted(k for k in os.environ if k[:4] in ('BAEK', 'KMS_')))"
    assert CommandMaster(_program(tmp_path, text))._run("id", b"").strip() == b"['KMS_REGION']"
