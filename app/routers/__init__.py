"""One file per noun; handlers of a few lines that never see a database session."""
