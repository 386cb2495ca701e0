"""pyccf: the Confidential Consortium Framework in Python.

Organisations that do not trust each other, nor the people who host their machines, run one
service together. CONTRIBUTING.md has the rooms and rings.
"""

__version__ = "0.1.0"

CCF_VERSION = "ccf-7.0.0-dev5"
"""The version of the original whose contract this package follows; told at /node/version."""
