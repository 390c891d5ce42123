"""Public standards as pure rules: DUO, vocabularies, metadata formats. One file per standard."""
