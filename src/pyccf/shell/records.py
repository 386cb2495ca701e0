"""Records of TLS through memory BIOs, by the library's functions underneath pyOpenSSL.

pyOpenSSL's methods cost more than the cryptography: they allocate for each call. Here buffers are
made once. Connections to clients (`wire_tls`) and between nodes (`peer_link`) read and write so.
"""

from __future__ import annotations

from OpenSSL._util import ffi, lib

RECORD_SIZE_MAX = 16 * 1024
"""Bytes of one TLS record (RFC 8446 5.1)."""

TLS_HANDSHAKE = 22
"""First byte of everything that is said first in TLS (RFC 8446 5.1)."""

ANY_POINTER = ffi.new("char **")
"""Where `bio_size` puts an address that nobody asked for."""

bio_write = lib.BIO_write
bio_read = lib.BIO_read
bio_size = lib.BIO_get_mem_data
ssl_read = lib.SSL_read
ssl_write = lib.SSL_write
