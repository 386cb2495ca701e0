"""The `pyccf` command. From outside: `cli.main.main`.

`pyccf node` runs a node and imports nothing else of this room; every other command is for people
and for scripts (`--json`), built with click and rich, loaded only when it is called.
"""
