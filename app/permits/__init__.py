"""Permits: what was approved, and whether it is live at this moment. Read afresh each time, never cached."""

from app.permits.live import LivePermit, must_be_live, refusal

__all__ = ["LivePermit", "must_be_live", "refusal"]
