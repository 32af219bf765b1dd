"""`python -m eddyline`."""

from eddyline.cli import main

main()
