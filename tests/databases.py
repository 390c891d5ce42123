"""Where one of the two databases is enough in `make test`: which one, while `make test-all` runs the test on both."""

import pytest

_LONG = pytest.mark.long
SQLITE_FIRST = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=_LONG)], indirect=True
)
POSTGRESQL_FIRST = pytest.mark.parametrize(
    "database_url", [pytest.param("sqlite", marks=_LONG), "postgresql"], indirect=True
)
