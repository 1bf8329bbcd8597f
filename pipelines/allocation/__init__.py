"""Shared cost to its owners: rules (policy file), engine (SQL over a whole period), kernel (exact integers), csv (no home)."""
