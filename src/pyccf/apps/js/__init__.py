"""Room of pyccf: apps/js."""
