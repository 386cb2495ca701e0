"""Room of pyccf: api/gov."""
