"""Attestation evidence: what a node shows to prove which program it runs, and how it is judged.

`evidence` is what all platforms share; `virtual` is the platform without hardware, which proves
nothing; `policy` judges a program that wants to join. Functions of bytes only: nothing is fetched
here and no clock is read.
"""
