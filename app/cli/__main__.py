"""`python -m app.cli`: the same as `halftime`."""

from app.cli import main

main()
