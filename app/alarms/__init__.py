"""Silence is suspicious: promised feeds that do not come, and what must never be readable, raise an alarm."""
