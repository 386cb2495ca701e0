"""Room of pyccf: kv."""
