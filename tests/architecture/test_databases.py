"""The databases that tests get are real, empty and their own."""

from sqlalchemy import create_engine, inspect, text


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
