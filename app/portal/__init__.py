"""Pages for people: Korean and English, no script needed, nothing loaded from elsewhere."""
