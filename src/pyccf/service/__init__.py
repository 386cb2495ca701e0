"""Room of pyccf: service."""
