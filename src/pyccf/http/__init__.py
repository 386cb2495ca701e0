"""Room of pyccf: http."""
