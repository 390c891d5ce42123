"""The handbook. What can be read from the code is written by `generate.py` and checked by tests/unit/test_docs.py."""
