"""Room of pyccf: attest."""
