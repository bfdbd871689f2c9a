"""`python -m pixelpyramids COMMAND`, the form that launchers such as torchrun start."""

from pixelpyramids.cli.main import main

main()
