"""DOOR 2: what may leave: `release`, `count`, `dry_run`. Back: `recall`, `trace`. `look` watches, `forget` cleans."""

from app.gate.door import Gate, Released
from app.gate.looking import Looked, Sighting
from app.gate.recalling import Whereabouts

__all__ = ["Gate", "Looked", "Released", "Sighting", "Whereabouts"]
