"""Extracts: ordered by the holder of a permit, built by the gate, delivered byte by byte as long as consent holds."""
