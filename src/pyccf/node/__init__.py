"""Room of pyccf: node."""
