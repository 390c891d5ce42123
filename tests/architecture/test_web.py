"""A web beside workers of their own holds neither vault, nor gate, nor a key that opens a project's: by what it is made
of, whatever it was given."""

from __future__ import annotations

import base64
import gc
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from app.clock import utc_now
from app.engines.destruction import DestructionEngine
from app.engines.intake import IntakeEngine
from app.gate import Gate
from app.keyring import Keyring, KeyringError, open_keyring, open_web_keyring
from app.main import Built, Served, application, build, create_app, rooms, serving
from app.settings import Settings
from app.storage.memory import Memory
from app.storage.vault import Vault

WEB, MASTER = bytes(range(32)), bytes(range(32, 64))
FORBIDDEN = (Vault, Memory, Gate, IntakeEngine, DestructionEngine)


def _b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _settings(folder: Path, **more: Any) -> Settings:
    return Settings(_env_file=None, var=folder, jobs="separate", web_key=_b64(WEB), **more)


def held(root: object) -> Iterator[object]:
    """Everything that an object leads to. Classes, modules and the globals of functions are code, which it shares with
    every process."""
    seen, left = {id(root)}, [root]
    while left:
        one = left.pop()
        yield one
        if isinstance(one, FunctionType):
            found: list[Any] = [one.__closure__, one.__defaults__, one.__kwdefaults__]
        else:
            found = gc.get_referents(one)
        for other in found:
            if id(other) not in seen and not isinstance(other, type | ModuleType):
                seen.add(id(other))
                left.append(other)


def _too_much(root: object, master: str) -> set[str]:
    return {
        type(one).__name__
        for one in held(root)
        if isinstance(one, FORBIDDEN) or (isinstance(one, Keyring) and master in one.known)
    }


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Served]:
    made = serving(_settings(tmp_path, master_key=_b64(MASTER), vault_key_id="vault", vault_secret="s" * 20))
    yield made
    made.db.dispose()


def test_it_leads_to_nothing_that_reads_people(web: Served) -> None:
    assert _too_much(web, Keyring(MASTER).current) == set()


def test_what_it_must_not_lead_to_is_found_where_it_is(tmp_path: Path) -> None:
    """A process that works leads to all of it; so the look is not blind."""
    built = build(_settings(tmp_path, master_key=_b64(MASTER)))
    found = _too_much(built, Keyring(MASTER).current)
    assert found == {"Vault", "Memory", "Gate", "IntakeEngine", "DestructionEngine", "Keyring"}
    assert {"Gate", "Vault"} <= _too_much(built.house, Keyring(MASTER).current)
    built.db.dispose()


def test_a_planted_gate_is_found(web: Served, tmp_path: Path) -> None:
    built = build(Settings(_env_file=None, var=tmp_path))
    object.__setattr__(web.house.catalog, "gate", built.gate)
    assert "Gate" in _too_much(web, "")
    built.db.dispose()


def test_the_application_is_made_that_way_and_looks_for_no_master_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise AssertionError("a web opened it")

    for name in ("Gate", "IntakeEngine", "DestructionEngine", "engine", "open_keyring"):
        monkeypatch.setattr(rooms, name, refuse)
    monkeypatch.setattr(application, "build", refuse)
    for of in (Vault, Memory):
        monkeypatch.setattr(of, "open", refuse)
    app = create_app(_settings(tmp_path), utc_now)
    assert not isinstance(app.state.house, Built)
    assert not (tmp_path / "master.key").exists()
    app.state.house.db.dispose()


def test_its_key_opens_what_is_the_webs_and_nothing_else(tmp_path: Path) -> None:
    alone = open_web_keyring(_settings(tmp_path), alone=True)
    whole = _settings(tmp_path, master_key=_b64(MASTER))
    projects, webs = open_keyring(whole), open_web_keyring(whole)
    assert alone.unwrap(webs.new())
    with pytest.raises(KeyringError):
        alone.unwrap(projects.new())
    assert projects.unwrap(webs.new())  # a worker counts by the cohorts' keys, too
    assert webs.unwrap(projects.new())  # what the master key wrapped before the web had its own
    assert {alone.current, projects.current} == {Keyring(WEB).current, Keyring(MASTER).current}


def test_without_a_key_of_its_own_it_is_as_before(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, var=tmp_path, master_key=_b64(MASTER))
    assert open_web_keyring(settings).current == open_keyring(settings).current == Keyring(MASTER).current
