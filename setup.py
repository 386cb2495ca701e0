"""Build step: compiles the small cffi extension through which QuickJS-ng is driven.

Everything else is declared in pyproject.toml.
"""

from setuptools import setup

setup(cffi_modules=["src/pyccf/apps/js/_build.py:ffi"])
