"""Objects in three rooms that share no door: what arrived, what was checked, what is released.

Import the room you may open (`app.storage.inbox`, `.vault`, `.outbox`); import-linter holds who may.
"""
