"""Room of pyccf: cli."""
