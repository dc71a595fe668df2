"""`python -m clients`: the same as `ekiben`."""

from clients.cli import main

main()
