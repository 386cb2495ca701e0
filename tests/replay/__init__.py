"""Replays what was recorded from a running service of the original against a network of ours.

`python -m replay DIRECTORY` (in `tests`; `make replay` from the project's folder) starts three
nodes as processes, brings them into the recorded state by making the recorded requests, compares
every answer and prints a table. `recording` says what a recording tells of its network, `nodes`
starts ours, `wire` speaks to it, `driver` plays, `probes` runs JavaScript probes, `deviations`
holds what may differ and why, `report` writes the table.
"""
