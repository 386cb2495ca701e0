"""Room of pyccf: codec."""
