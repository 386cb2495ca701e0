"""HTTP: however the bytes are cut the requests are the same; answers are read back as written."""

from __future__ import annotations

from itertools import pairwise

import httptools
from hypothesis import given
from hypothesis import strategies as st

from pyccf.http.h1 import ParseFailure, Parser
from pyccf.http.limits import HttpLimits
from pyccf.http.message import REASONS, encode_response

LIMITS = HttpLimits(max_body_size=200, max_header_size=60, max_headers_count=10)

tokens = st.text("abcxyzABC-_0123456789", min_size=1, max_size=12)
values = st.binary(max_size=20).map(
    lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127).strip()
)
fields = st.lists(st.tuples(tokens.map(lambda name: ("x" + name).encode()), values), max_size=6)
bodies = st.binary(max_size=150)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "CONNECT"]))
    target = "h:1" if method == "CONNECT" else "/" + draw(tokens) + draw(st.sampled_from(["", "?"]))
    head = b"".join(b"%b: %b\r\n" % pair for pair in draw(fields))
    body = draw(bodies)
    if draw(st.booleans()):
        head += b"Connection: upgrade\r\nUpgrade: h2c\r\n"
    if draw(st.booleans()):
        head += b"content-length: %d\r\n" % len(body)
    else:
        head += b"transfer-encoding: chunked\r\n"
        pieces = []
        while body:
            size = draw(st.integers(1, len(body)))
            pieces.append(b"%x\r\n%b\r\n" % (size, body[:size]))
            body = body[size:]
        body = b"".join(pieces) + b"0\r\n\r\n"
    return f"{method} {target} HTTP/1.1\r\n".encode() + head + b"\r\n" + body


def run(data: bytes, cuts: list[int]) -> tuple[list[object], int | None]:
    """What a parser makes of the data cut at these places: requests, status of the refusal."""
    parser = Parser(LIMITS)
    seen: list[object] = []
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    for start, end in pairwise(places):
        try:
            done = parser.feed(data[start:end])
        except ParseFailure as failure:
            refusal = failure
            break
        seen += [(r.method, r.target, r.headers, r.body) for r in done]
    else:
        return seen, None
    seen += [(r.method, r.target, r.headers, r.body) for r in refusal.requests]
    assert refusal.status in (400, 413, 431)
    if refusal.status == 400:
        assert refusal.body.endswith(data[start:end])
    return seen, refusal.status


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_cuts_do_not_matter_to_good_requests(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(messages)
    seen, refusal = run(data, [])
    assert refusal is None
    assert len(seen) == len(messages)
    assert run(data, cuts) == (seen, None)


@given(
    st.lists(requests(), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=3)), min_size=1, max_size=3),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_cuts_do_not_matter_to_bad_requests(
    messages: list[bytes], edits: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data = b"".join(messages)
    for place, new in edits:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + 1 :]
    whole = run(data, [])
    cut = run(data, cuts)
    assert cut[0] == whole[0]
    # A size limit may be noticed sooner or later than a syntax error behind it.
    assert (cut[1] is None) == (whole[1] is None)


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_no_bytes_do_harm(pieces: list[bytes]) -> None:
    run(b"".join(pieces), [sum(map(len, pieces[:i])) for i in range(len(pieces))])


class Reader:
    """Reads answers back with llhttp."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = 0
        self.on_header = lambda name, value: self.headers.append((name, value))

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete += 1


safe_names = st.text("abcxyz-", min_size=1, max_size=10).map(lambda name: "x-" + name)


@given(
    st.sampled_from(sorted(code for code in REASONS if code >= 200 and code not in (204, 304))),
    st.dictionaries(safe_names, st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    st.binary(max_size=100),
)
def test_responses_read_back(status: int, headers: dict[str, str], body: bytes) -> None:
    allowed = {
        name: "".join(c for c in value if c in "\r\n\0" or c.isprintable())
        for name, value in headers.items()
    }
    reader = Reader()
    parser = httptools.HttpResponseParser(reader)
    parser.feed_data(encode_response(status, allowed, body))
    assert reader.complete == 1
    assert parser.get_status_code() == status
    assert reader.body == body
    names = [name.decode() for name, _ in reader.headers]
    assert names == sorted([*allowed, "content-length"])
