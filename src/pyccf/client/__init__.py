"""Room of pyccf: client."""
