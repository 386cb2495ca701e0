"""Room of pyccf: shell."""
