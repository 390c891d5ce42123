"""DOOR 2: what may leave. Three verbs, and two ways back: `release`, `count`, `dry_run`; `recall`, `trace`."""

from app.gate.building import wipe_spill
from app.gate.door import Gate, Released, Whereabouts

__all__ = ["Gate", "Released", "Whereabouts", "wipe_spill"]
