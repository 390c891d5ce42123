"""Cohorts: what an institution registers, uploads and submits, and how it becomes a published version."""
