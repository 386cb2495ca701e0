"""Attestation evidence: what a node shows to prove which program it runs, and how it is judged.

`evidence` is what all platforms share; `virtual` is the platform without hardware, which proves
nothing; `snp` verifies reports of SEV-SNP (`amd` has the roots, `tcb` the firmware's versions) and
`uvm` what others vouch for (named as `did_x509` says); `policy` judges a program that wants to
join. `sgx` and `tdx` verify quotes of Intel's processors (`dcap`) with what Intel says of these
(`collateral`), for applications. Functions of bytes and of the time that is given: nothing is
fetched here, no clock is read.
"""
