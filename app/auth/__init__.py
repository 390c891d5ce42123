"""The authorization server, its tokens, and the rules of who may do what; `policy` is pure."""
