"""DOOR 2: what may leave: `release`, `count`, `dry_run`. Two ways back: `recall`, `trace`. And `forget` cleans up."""

from app.gate.door import Gate, Released, Whereabouts

__all__ = ["Gate", "Released", "Whereabouts"]
