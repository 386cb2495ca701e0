"""Room of pyccf: crypto."""
