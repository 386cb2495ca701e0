"""The simulator: whole networks of nodes in one process, on virtual time, from a seed.

A shell like any other, but for its hands: time, chance, disk and network are all made from the
seed, so that a run can be repeated exactly. Checkers look at every step.
"""
