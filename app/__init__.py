"""Baekman: the sharing layer between consented biomedical cohorts and approved researchers."""
