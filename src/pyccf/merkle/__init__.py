"""Room of pyccf: merkle."""
