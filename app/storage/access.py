"""How one room reaches its store: by which server, under whose name, and how what lies there is encrypted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from app.settings import AnyStore, Settings

Encryption = Literal["none", "AES256", "aws:kms"]


@dataclass(frozen=True, slots=True)
class Access:
    """Each room has its own, so that a key that is lost opens one room. Unset: what the machine itself is given
    (an instance role, AWS_*)."""

    endpoint: str | None = None
    region: str | None = None
    key_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    encryption: Encryption = "none"
    kms_key: str | None = None


AMBIENT = Access()


def access(settings: Settings, room: AnyStore) -> Access:
    """How a room reaches its store; the backups may lie on a server of their own."""
    key_id, secret = settings.store_key(room)
    endpoint = settings.s3_endpoint
    if room == "backup" and settings.backup_endpoint is not None:
        endpoint = settings.backup_endpoint
    return Access(endpoint, settings.s3_region, key_id, secret, settings.s3_encryption, settings.s3_kms_key)
