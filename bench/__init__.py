"""Measurements of the whole: `make bench`, or `python -m bench --help`.

Figures are reported, never tested: a machine with other guests would fail any limit. What was
measured for the record lies in `results/`, one JSON file per run.
"""
