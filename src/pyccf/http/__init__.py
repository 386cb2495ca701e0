"""HTTP without hands: requests and responses as values, the HTTP/1.1 parser, its limits, sessions.

Bytes in, requests out; responses in, bytes out. No socket, no clock. Use from outside:
`message.Request`, `message.Response`, `message.encode_response`, `h1.Parser`, `limits.HttpLimits`,
`session.Session`, `accept.check_accept`.
"""
