"""How one room reaches its store: by which server, under whose name, and how what lies there is encrypted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
