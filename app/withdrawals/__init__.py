"""Withdrawals: taken at once, carried to every copy, closed by a receipt."""
