"""`python -m app.cli`: the shell."""

from app.cli import main

main()
