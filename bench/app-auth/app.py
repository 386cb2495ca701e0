"""The same small write behind each way of telling who calls."""

from __future__ import annotations

from pyccf.apps.python import App, AppContext

app = App(title="Benchmark of authentication")


def _write(ctx: AppContext) -> bool:
    ctx.kv("records").set(b"key", b"m" * 64)
    return True


@app.post("/none", auth=["no_auth"])
def none(ctx: AppContext) -> bool:
    """Write one private key; anybody may"""
    return _write(ctx)


@app.post("/jwt", auth=["jwt"])
def jwt(ctx: AppContext) -> bool:
    """Write one private key; whoever brings a bearer token may"""
    return _write(ctx)


@app.post("/cose", auth=["user_cose_sign1"])
def cose(ctx: AppContext) -> bool:
    """Write one private key; users who sign the request may"""
    return _write(ctx)
