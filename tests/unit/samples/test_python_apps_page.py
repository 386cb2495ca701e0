"""docs/python-apps.md: its examples are one application that works, its names exist."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from pyccf.apps.context import Services
from pyccf.apps.past import PastState
from pyccf.apps.python import App, AppContext, TypedTable
from support.node import STARTED, Service
from support.py_sample import COSE, add_user, refused, signed
from support.samples import SAMPLES

PAGE = (SAMPLES.parent / "docs" / "python-apps.md").read_text(encoding="utf-8")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    module = ModuleType("notes_of_the_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/python-apps.md", "exec"), module.__dict__)
    found = module.__dict__["app"]
    assert isinstance(found, App)
    return found


def test_the_examples_work(app: App) -> None:
    service = Service(app=app)
    service.open_app()
    user = add_user(service, "user")
    note = {"text": "hush"}
    assert service.call("PUT", "/app/notes/a", note, caller=user).json is True
    assert service.call("GET", "/app/notes/a", caller=user).json == {**note, "public": False}
    refused(service.call("GET", "/app/notes/a"), 404, "ResourceNotFound")
    new = {"if-none-match": "*"}
    claimed = service.call("POST", "/app/notes/b/claim", note, caller=user, headers=new)
    assert (claimed.status, claimed.body.decode()) == (201, claimed.txid)
    again = service.call("POST", "/app/notes/b/claim", note, caller=user, headers=new)
    refused(again, 412, "PreconditionFailed")
    assert service.call("GET", "/app/notes/b").json["text"] == "hush"
    refused(
        service.call("GET", "/app/party", headers={"x-guest": "ada"}),
        401,
        "InvalidAuthenticationInfo",
    )
    tx = service.node.store.tx()
    tx.map("public:guests").set(b"ada", b"1")
    service.node.commit(tx)
    service.pump()
    found = service.call("GET", "/app/party", headers={"x-guest": "ada"})
    assert found.body == b"Welcome, ada"


def test_the_editors_of_the_page(app: App) -> None:
    service = Service(app=app)
    service.open_app()
    editor = add_user(service, "editor", {"editor": True})
    user = add_user(service, "user")
    endpoint = {
        "js_module": "hi.js",
        "js_function": "hi",
        "authn_policies": ["no_auth"],
        "forwarding_required": "always",
    }
    bundle = {
        "metadata": {"endpoints": {"/custom/hi": {"get": endpoint}}},
        "modules": [{"name": "hi.js", "module": "export const hi = () => ({ body: 'hi' });"}],
    }
    made = {"app__msg__type": "install", "app__msg__created_at": STARTED}
    for who, status in ((user, 403), (editor, 204), (editor, 400)):
        message = signed(who, bundle, **made)
        reply = service.call("PUT", "/app/custom_endpoints", message, headers=COSE)
        assert reply.status == status, reply.body
    assert service.call("GET", "/app/custom/hi").body == b"hi"


def test_what_the_page_names_is_there() -> None:
    for name in re.findall(r"`ctx\.(\w+)", PAGE):
        assert hasattr(AppContext, name), name
    for name in set(re.findall(r"`app\.(\w+)", PAGE)) - {"py"}:
        assert hasattr(App, name), name
    cells = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("| `ctx")]
    rows = {left.strip(): right for left, right in cells}
    for words, kind in (
        (rows["`ctx.services`"], Services),
        (rows["`ctx.kv(name)`, `Table(...)(ctx)`"], TypedTable),
        (next(right for _, right in cells if "cose_endorsements" in right), PastState),
    ):
        named = re.findall(r"`([a-z_ ]+)`", words)[-1].split()
        assert len(named) > 3
        for name in named:
            assert hasattr(kind, name), name
