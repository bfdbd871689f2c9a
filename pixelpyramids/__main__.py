"""`python -m pixelpyramids COMMAND`, which launchers such as torchrun start."""

from pixelpyramids.cli.main import main

main()
