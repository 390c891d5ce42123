"""A text is written again where it is not UTF-8 with plain line ends, and is the file that came where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines.intake import lines
from app.schemas.dictionary import Table

TEXT = "번호,말\n" + "".join(f"{n},값 {n}\n" for n in range(40))


def table(encoding: str) -> Table:
    fields: list[dict[str, Any]] = [{"name": name, "role": {"kind": "attribute"}} for name in ("번호", "말")]
    said = {"name": "t", "kind": "reference", "encoding": encoding, "fields": fields}
    return Table.model_validate(said)


def made(folder: Path, came: bytes, encoding: str = "utf-8") -> tuple[bytes, bool]:
    """What is read instead of a file, and whether it is the file itself."""
    source, target = folder / "came", folder / "lines.csv"
    source.write_bytes(came)
    target.unlink(missing_ok=True)
    assert list(lines.transcode(source, target, table(encoding))) == []
    assert source.read_bytes() == came
    return target.read_bytes(), target.samefile(source)


@pytest.mark.parametrize("chunk", [7, 100, 1 << 20])
def test_only_what_is_not_right_is_written_again(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_CHUNK", chunk)
    right = TEXT.encode()
    assert made(tmp_path, right) == (right, True)
    assert made(tmp_path, right.rstrip()) == (right.rstrip(), True)
    assert made(tmp_path, b"a,b\n1,2\n", "cp949") == (b"a,b\n1,2\n", True)
    assert made(tmp_path, b"\xef\xbb\xbf" + right) == (right, False)
    assert made(tmp_path, TEXT.encode("cp949"), "cp949") == (right, False)
    for end in ("\r\n", "\r"):
        assert made(tmp_path, TEXT.replace("\n", end).encode()) == (right, False)
        assert made(tmp_path, right + f"40,x{end}41,y{end}".encode()) == (right + b"40,x\n41,y\n", False)


def test_a_folder_without_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuses)
    assert made(tmp_path, TEXT.encode()) == (TEXT.encode(), False)


@given(st.text('",\na', max_size=60), st.integers(1, 8))
def test_the_last_closed_value_is_found_as_by_looking_at_each_end_anew(text: str, looks: int) -> None:
    def anew() -> int:
        end = len(text)
        for _ in range(looks):
            at = max(text.rfind('",', 0, end), text.rfind('"\n', 0, end))
            if at < 0:
                return -1
            end = len(text[:at].rstrip('"'))
            if (at - end) % 2 == 0:
                return at
        return -1

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines, "_LOOKS", looks)
        assert lines._Outline(",", 10)._last_closed(text) == anew()
