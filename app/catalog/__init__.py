"""The catalogue: what is published, masked counts, and the way to the million; nothing restricted, no small number."""
