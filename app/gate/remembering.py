"""What a generation leaves for the next: the engine's and the verifier's memory of it, sealed under the project's key.

It names people by key and pseudonym and holds what they share (class, codes), no source id. It is no way out: nothing
but the gate opens it, and what it says is used only as far as ledger, consent and vault say the same. Whoever could
open it has the project's key, and could derive all pseudonyms anyway.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.ipc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.deid import pseudonyms, verify
from app.engines import Kept

if TYPE_CHECKING:
    from app.gate.building import Staged
    from app.gate.door import Gate

_NONCE = 12
_COMPRESSED = pyarrow.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Remembered:
    """One generation, as the build that made it saw it."""

    kept: Kept
    evidence: verify.Evidence


def remember(
    gate: Gate, extract_id: str, generation: int, staged: Staged, project_key: bytes, spill: Path
) -> None:
    """Seal what the build of a published generation left, in the place of what was. Where it left nothing, nothing is
    kept: the next build is a whole one."""
    if gate.memory is None:
        return
    if staged.kept is None or staged.verdict.evidence is None:
        gate.memory.forget(extract_id)
        return
    evidence = staged.verdict.evidence
    head = {"about": staged.kept.about, "parts": [asdict(part) for part in evidence.parts]}
    tables = {f"kept {n}": t for n, t in staged.kept.tables.items()}
    tables |= {f"evidence {n}": t for n, t in evidence.tables.items()}
    nonce, sealing = secrets.token_bytes(_NONCE), AESGCM(_key(project_key))
    path = spill / "memory"
    path.write_bytes(nonce + sealing.encrypt(nonce, _packed(head, tables), _name(extract_id, generation)))
    gate.memory.put(path, extract_id, generation)


def recollect(gate: Gate, extract_id: str, generation: int, project_key: bytes) -> Remembered | None:
    """What is remembered of the generation; None where nothing is, or it was not sealed by this key for this name."""
    sealed = gate.memory.get(extract_id, generation) if gate.memory is not None else None
    if sealed is None:
        return None
    try:
        plain = AESGCM(_key(project_key)).decrypt(
            sealed[:_NONCE], sealed[_NONCE:], _name(extract_id, generation)
        )
        head, tables = _unpacked(plain)
    except (InvalidTag, ValueError, KeyError, pa.ArrowException):
        return None
    parts = tuple(verify.PartEvidence(**part) for part in head["parts"])
    kept = {n.removeprefix("kept "): t for n, t in tables.items() if n.startswith("kept ")}
    held = {n.removeprefix("evidence "): t for n, t in tables.items() if n.startswith("evidence ")}
    return Remembered(Kept(head["about"], kept), verify.Evidence(parts, held))


def _key(project_key: bytes) -> bytes:
    return pseudonyms.subkey(project_key, "memory")


def _name(extract_id: str, generation: int) -> bytes:
    return f"baekman/1 memory {extract_id} {generation}".encode()


def _packed(head: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> bytes:
    """A line of JSON (the head and the length of each table), then the tables as Arrow streams."""
    streams = {}
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=_COMPRESSED) as writer:
            writer.write_table(table)
        streams[name] = sink.getvalue()
    lengths = [[name, stream.size] for name, stream in streams.items()]
    line = json.dumps({"head": head, "tables": lengths}).encode() + b"\n"
    return b"".join([line, *(stream.to_pybytes() for stream in streams.values())])


def _unpacked(plain: bytes) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    start = plain.index(b"\n") + 1
    said = json.loads(plain[:start])
    tables, buffer = {}, pa.py_buffer(plain)
    for name, size in said["tables"]:
        with pa.ipc.open_stream(buffer.slice(start, size)) as reader:
            tables[name] = reader.read_all()
        start += size
    return said["head"], tables
