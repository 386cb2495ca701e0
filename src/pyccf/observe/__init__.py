"""Room of pyccf: observe."""
