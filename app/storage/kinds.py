"""Every kind of store by the scheme of its URL; tests/spec/test_stores.py runs over each of them by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore, MemoryStore

from app.storage import s3
from app.storage.access import AMBIENT, Access
from app.storage.store import Store, make_private_folder


def _file(url: str, _access: Access) -> Store:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise ValueError("a file store is file:///and/an/absolute/folder")
    root = make_private_folder(Path(unquote(parts.path)))
    return Store(LocalStore(root), root)


def _memory(_url: str, _access: Access) -> Store:
    return Store(MemoryStore())


KINDS: dict[str, Callable[[str, Access], Store]] = {"file": _file, "memory": _memory, "s3": s3.open_bucket}


def open_store(url: str, access: Access = AMBIENT) -> Store:
    """The store behind the URL: `file:///folder`, `s3://bucket/prefix` or, for tests and tries, `memory://`; else a
    ValueError."""
    scheme = urlsplit(url).scheme
    if scheme not in KINDS:
        raise ValueError(f"no store of the kind {scheme!r}; known: {', '.join(sorted(KINDS))}")
    return KINDS[scheme](url, access)
