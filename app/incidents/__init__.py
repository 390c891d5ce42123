"""Incidents: what went wrong is reported, stopped, measured, told to whom it concerns in time, mended and closed."""
