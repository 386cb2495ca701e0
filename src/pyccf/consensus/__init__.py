"""Room of pyccf: consensus."""
