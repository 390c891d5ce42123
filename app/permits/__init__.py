"""Permits: what was approved, and whether it is live at this moment. Read afresh each time, never cached."""

from app.permits.live import ENDED, LivePermit, must_be_live, refusal

__all__ = ["ENDED", "LivePermit", "must_be_live", "refusal"]
