"""HTTP without hands: requests and responses as values, HTTP/1.1 and HTTP/2, limits, sessions.

Bytes in, requests out; responses in, bytes out. No socket, no clock. Use from outside:
`message.Request`, `message.Response`, `message.encode_response`, `h1.Parser`, `h2.Server`,
`limits.HttpLimits`, `room.Room`, `session.Session`, `accept.check_accept`.
"""
