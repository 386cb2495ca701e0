"""Recordings of any network are understood: what they tell is used, what they do not is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from replay import deviations
from replay.driver import groups, same_but_for_words
from replay.play import judge, left_open, needs_app
from replay.recording import ALONE, Recording
from replay.report import FileResult, Outcome, share, table

IDS = ["a1" * 32, "b2" * 32]
BEGAN = 1_795_000_000


def exchange(name: str = "x", **parts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "area": "",
        "setup": "",
        "node": "primary",
        "interface": "main",
        "protocol": "HTTP/1.1 over TLS",
        "volatile": [],
        "request": {"method": "GET", "path": "/app/x", "headers": [], "client": "none"},
        "response": {"status": 200, "headers": {}, "body": ""},
        **parts,
    }


def recording(folder: Path, **files: list[dict[str, Any]]) -> Recording:
    folder.mkdir(exist_ok=True)
    for name, exchanges in files.items():
        lines = "\n".join(json.dumps(one) for one in exchanges)
        (folder / f"{name}.jsonl").write_text(lines)
    symbols = {f"node{i}_id": node_id for i, node_id in enumerate(IDS)}
    (folder / "symbols.json").write_text(json.dumps(symbols))
    return Recording(folder)


def test_unknown_files_are_played_before_those_that_hurt(tmp_path: Path) -> None:
    names = ("opening", "recovery", "failover", "new_things", "join", "gov", *ALONE)
    made = recording(tmp_path, **{name: [] for name in names})
    assert made.shared() == ["opening", "gov", "new_things", "join", "failover", "recovery"]


def test_interfaces_are_those_the_service_told(tmp_path: Path) -> None:
    rows = {"main": {"bind_address": "127.0.0.1:9000", "published_address": "127.0.0.1:9000"}}
    told = {"nodes": [{"node_id": IDS[0], "rpc_interfaces": rows}]}
    listing = exchange(
        request={"method": "GET", "path": "/node/network/nodes", "headers": []},
        response={"status": 200, "headers": {}, "body": json.dumps(told)},
    )
    found = recording(tmp_path, node=[listing]).interfaces()
    assert found[0] == rows
    assert found[2]["main"]["bind_address"] == "127.0.0.1:9040"


def test_nothing_told_gives_defaults(tmp_path: Path) -> None:
    made = recording(tmp_path, opening=[])
    assert made.interfaces()[0].keys() == {"primary_rpc_interface"}
    assert made.service_name() == "CN=CCF Service"
    assert made.signed_names() is None
    assert made.bundle() is None
    assert made.held_addresses() == {}


def test_addresses_between_nodes_are_those_that_were_told(tmp_path: Path) -> None:
    told = {IDS[1]: {"address": "127.0.0.1:4711"}}
    config = exchange(
        request={"method": "GET", "path": "/node/config", "headers": []},
        response={"status": 200, "headers": {}, "body": json.dumps(told)},
    )
    assert recording(tmp_path, node=[config]).held_addresses() == {1: "127.0.0.1:4711"}


def test_time_begins_with_the_first_signed_message(tmp_path: Path) -> None:
    def signed(at: Any) -> dict[str, Any]:
        protected = {"ccf.gov.msg.created_at": at}
        return exchange(request={"method": "POST", "path": "", "cose": {"protected": protected}})

    made = recording(tmp_path, opening=[exchange(), signed(0), signed(BEGAN), signed(BEGAN + 9)])
    assert made.began() == BEGAN


def test_pipelined_requests_belong_together() -> None:
    names = ["a", "pipelined request 1 of 2", "pipelined request 2 of 2", "b"]
    assert [len(g) for g in groups([exchange(n) for n in names])] == [1, 2, 1]


def test_an_application_is_needed_where_something_of_it_answers() -> None:
    built_in = exchange(request={"method": "GET", "path": "/app/commit"})
    own = exchange(request={"method": "GET", "path": "/app/kv/x"})
    installs = exchange("set_user and set_js_app")
    assert not needs_app([built_in])
    assert needs_app([built_in, own])
    assert not needs_app([installs, own])


def test_a_difference_without_a_reason_is_unlisted() -> None:
    version = exchange(request={"method": "GET", "path": "/node/version", "headers": []})
    assert judge(version, ["body {}, not {}"]).kind == "listed"
    assert judge(version, ["body {}, not {}", "status 404, not 200"]).kind == "unlisted"
    assert judge(exchange(), ["body {}, not {}"]).kind == "unlisted"
    assert judge(exchange(), []).kind == "equal"


def test_rules_need_the_part_they_are_about() -> None:
    fetched = exchange(response={"status": 202, "headers": {}, "body": ""})
    assert deviations.explain(fetched, "status 200, not 202: b''")
    assert deviations.explain(fetched, "status 500, not 202: b''") is None


def test_the_table_counts_what_was_not_played() -> None:
    made = [Outcome("a", [], None), Outcome("b", ["body"], "why"), Outcome("c", ["body"], None)]
    result = FileResult("file", made, 1)
    assert share([result]) == 0.25
    assert "| file | 4 | 1 | 1 | 1 | 1 |" in table([result])
    assert "| why | 1 |" in table([result])


def error(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}})


def test_words_of_libraries_do_not_count_but_their_code_does() -> None:
    theirs = error("InvalidInput", "[json.exception.type_error.302] type must be string")
    assert same_but_for_words(theirs, error("InvalidInput", "not a text").encode())
    assert not same_but_for_words(theirs, error("InternalError", "not a text").encode())
    own = error("InvalidInput", "Missing field")
    assert not same_but_for_words(own, error("InvalidInput", "not a text").encode())


def test_listed_templates_come_in_any_order() -> None:
    theirs = error("InternalError", "Multiple potential matches for path: /x\n  /a\n  /b")
    ours = error("InternalError", "Multiple potential matches for path: /x\n  /b\n  /a")
    fewer = error("InternalError", "Multiple potential matches for path: /x\n  /a")
    assert same_but_for_words(theirs, ours.encode())
    assert not same_but_for_words(theirs, fewer.encode())


def test_documents_are_compared_without_descriptions() -> None:
    theirs = {"openapi": "3.0.0", "paths": {"/a": {"get": {"summary": "A"}}}}
    ours = {"openapi": "3.0.0", "paths": {"/a": {"get": {"summary": "B"}}}}
    assert same_but_for_words(json.dumps(theirs), json.dumps(ours).encode())
    assert not same_but_for_words(json.dumps(theirs), b'{"openapi": "3.0.0", "paths": {}}')
    assert not same_but_for_words("[]", b"[]")
    assert not same_but_for_words("{", b"{}")


def answered(name: str, path: str, body: object, *volatile: str, area: str = "") -> dict[str, Any]:
    return exchange(
        name,
        area=area,
        request={"method": "GET", "path": path, "headers": []},
        response={"status": 200, "headers": {}, "body": json.dumps(body)},
        volatile=[f"response.body $.{rule}" for rule in volatile],
    )


def test_what_always_varies_varies_after_a_recovery_too(tmp_path: Path) -> None:
    """Twice recorded, but recovered from one ledger."""
    made = recording(
        tmp_path,
        gov=[
            answered("one", "/gov/x?a=1", {"id": 1, "state": 1, "more": 1}, "id", "state"),
            answered("two", "/gov/x?a=2", {"id": 1, "state": 1}, "id"),
            answered("else", "/gov/y", {"more": 1}, "more"),
        ],
    )
    after = answered("after", "/gov/x?a=3", {"id": 1, "state": 1}, area="recovery")
    assert made.varying(after) == ["response.body $.id"]
    assert made.varying({**after, "area": "gov"}) == []


def test_the_node_that_recovered_has_interfaces_of_its_own(tmp_path: Path) -> None:
    rows = {"main": {"bind_address": "127.0.0.1:9000"}}
    old = {"node_id": IDS[0], "rpc_interfaces": {}}
    told = {"nodes": [old, {"node_id": "c3" * 32, "rpc_interfaces": rows}]}
    listing = answered("nodes", "/node/network/nodes", told)
    assert recording(tmp_path, recovery=[listing]).recovered_interfaces() == rows
    assert recording(tmp_path / "other", node=[listing]).recovered_interfaces() is None


def test_proposals_that_stay_open_were_withdrawn_unrecorded() -> None:
    def state(name: str, state: str) -> dict[str, Any]:
        return answered(name, "/gov/p", {"proposalState": state})

    failing = [state("a", "Open"), state("a: vote member0", "Open"), exchange("a: vote member1")]
    accepted = [state("b", "Open"), state("b: vote member0", "Accepted")]
    unvoted = [state("c", "Open")]
    for one in failing + accepted + unvoted:
        one["response"]["body"] = one["response"]["body"].replace(" ", "")
    assert left_open([*failing, *accepted, *unvoted]) == {"b": failing}
