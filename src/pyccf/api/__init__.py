"""Room of pyccf: api."""
