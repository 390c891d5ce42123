"""The databases that tests get are real, empty and their own."""

import os

import pytest
from sqlalchemy import create_engine, inspect, text

from tests import postgres


def test_a_test_gets_an_empty_database_of_its_own(database_url):
    engine = create_engine(database_url)
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == []
        connection.execute(text("CREATE TABLE seen (id INTEGER)"))
    engine.dispose()


def test_a_second_test_sees_nothing_of_the_first(database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    engine.dispose()


@pytest.mark.again
def test_the_wheel_serves_where_the_machine_has_no_server(tmp_path, monkeypatch):
    monkeypatch.delenv("PG_BIN", raising=False)
    monkeypatch.setattr(postgres, "system_folders", lambda: iter(()))
    assert postgres.find_binaries().from_wheel
    with postgres.fresh_database(postgres.running_server(tmp_path, os.getpid())) as url:
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.scalar(text("SHOW timezone")) == "Asia/Seoul"
        engine.dispose()


def test_no_server_is_a_failure_that_says_so(monkeypatch):
    monkeypatch.setenv("PG_BIN", "/nowhere")
    with pytest.raises(postgres.NoPostgres, match="PG_BIN"):
        postgres.find_binaries()
