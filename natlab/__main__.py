"""`python -m natlab`."""

from natlab.cli.app import main

main()
