"""Room of pyccf: audit."""
