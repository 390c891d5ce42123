"""Integrations: several cohorts under one dictionary by a mapping that is checked, reviewed and published."""
