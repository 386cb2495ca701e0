"""Limits of HTTP."""

from __future__ import annotations

from pyccf.http.limits import HEAD_SIZE_MAX, MB, PERMISSIVE, HttpLimits


def test_defaults_are_ccfs() -> None:
    limits = HttpLimits()
    assert limits.max_body_size == 1_048_576
    assert limits.max_header_size == 16_384
    assert limits.max_headers_count == 256


def test_a_larger_header_size_makes_room_in_the_head() -> None:
    assert HttpLimits().head_size_max == HEAD_SIZE_MAX
    assert HttpLimits(max_header_size=HEAD_SIZE_MAX).head_size_max == 4 * HEAD_SIZE_MAX
    assert PERMISSIVE.head_size_max >= 100 * MB
