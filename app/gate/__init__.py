"""DOOR 2: what may leave: `release`, `count`, `dry_run`. Back: `recall`, `trace`. `look` watches, `forget` cleans."""

from app.gate.door import Gate, Released, Whereabouts
from app.gate.looking import Looked, Sighting

__all__ = ["Gate", "Looked", "Released", "Sighting", "Whereabouts"]
