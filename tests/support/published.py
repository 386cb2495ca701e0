"""The published documents of the governance API: schemas to judge answers by, and examples."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator

from support.vectors import vectors_dir

VERSIONS = ("2023-06-01-preview", "2024-07-01")

RENAMED = {
    "/gov/service/js-modules": "/gov/service/javascript-modules",
    "/gov/service/js-modules/{moduleName}": "/gov/service/javascript-modules/{moduleName}",
}
"""Published paths that the original serves under others."""

UNSERVED = {"2023-06-01-preview": {"/gov/service/javascript-app"}, "2024-07-01": set[str]()}
"""Published paths that the original refuses in a version."""

UNLISTED = {
    ("/gov/service/users", "get"),
    ("/gov/service/users/{userId}", "get"),
}
"""Operations that the original has and does not publish."""

TEXTS = {
    "Ballots_Get": "script",
    "ServiceState_GetConstitution": "constitution",
    "ServiceState_GetJsModule": "source",
}
"""Operations that answer with a text where an object with this member is published."""


def folder(version: str) -> Path:
    return vectors_dir() / "ccf" / "schemas" / "gov" / version


def document(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(version) / "gov.json").read_text())
    return found


def operations(version: str) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """By operation id: path as it is served, verb, and the published operation."""
    return {
        operation["operationId"]: (RENAMED.get(path, path), verb, operation)
        for path, item in document(version)["paths"].items()
        for verb, operation in item.items()
        if path not in UNSERVED[version]
    }


def examples(version: str) -> dict[str, dict[str, Any]]:
    """By operation id."""
    paths = sorted((folder(version) / "examples").glob("*.json"))
    found = (json.loads(path.read_text()) for path in paths)
    return {example["operationId"]: example for example in found}


def corrected(version: str) -> dict[str, Any]:
    """The published schemas, but for what the original answers otherwise (spec: gov-api.md §7)."""
    found: dict[str, Any] = copy.deepcopy(document(version)["definitions"])
    for name, values in (
        ("ServiceState.ForwardingRequired", ["sometimes", "always", "never"]),
        ("ServiceState.JsExecMode", ["readwrite", "readonly", "historical"]),
    ):
        found[name]["enum"] = values
    # Interfaces say their protocol only where it was configured.
    found["ServiceState.NetworkInterface"]["required"].remove("protocol")
    # Several issuers may have a key of the same id; it is shown as a key, not as a certificate.
    key = found["ServiceState.Jwk"]
    key["properties"] = {"publicKey": {"type": "string"}, "issuer": {"type": "string"}}
    key["required"] = ["publicKey", "issuer"]
    keys = found["ServiceState.JwkInfo"]["properties"]["keys"]
    keys["additionalProperties"] = {"type": "array", "items": keys["additionalProperties"]}
    # Versions stand directly under the processor.
    if "ServiceState.TcbVersion" in found:
        found["ServiceState.MinimumTcbVersion"] = found["ServiceState.TcbVersion"]
    issuer = found["ServiceState.JwtIssuer"]
    issuer["required"] = [name for name in issuer["required"] if name != "keyFilter"]
    # The state of a new service cannot be acknowledged before its first signature.
    found["Acks.StateDigest"]["properties"]["stateDigest"]["pattern"] = "^([a-f0-9]{64})?$"
    return found


def faults(version: str, schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with an answer by a published schema."""
    whole = {**schema, "definitions": corrected(version)}
    return [error.message for error in Draft4Validator(whole).iter_errors(value)]


def differences(example: Any, answer: Any, place: str = "$") -> list[str]:
    """Where an answer has another shape than the example: members it lacks, other types.

    Members beyond those of the example are left to the schemas. Objects keyed by ids or paths are
    compared by their first members.
    """
    if type(example) is not type(answer):
        return [f"{place}: {type(answer).__name__} instead of {type(example).__name__}"]
    if isinstance(example, list):
        if not example or not answer:
            return [] if not example else [f"{place} is empty"]
        return differences(example[0], answer[0], f"{place}[0]")
    if not isinstance(example, dict):
        return []
    if _keyed(place):
        if not example or not answer:
            return [] if not example else [f"{place} is empty"]
        pair = next(iter(example.values())), next(iter(answer.values()))
        return differences(*pair, f"{place}.*")
    found: list[str] = []
    for name, value in example.items():
        if name == "nextLink":
            continue  # answers are never cut into pages
        if name not in answer:
            found.append(f"{place}.{name} is missing")
        else:
            found += differences(value, answer[name], f"{place}.{name}")
    return found


_MAPS = (
    ".finalVotes",
    ".endpoints",
    ".endpoints.*",
    ".issuers",
    ".keys",
    ".caCertBundles",
    ".rpcInterfaces",
    ".hostData",
    ".uvmEndorsements",
    ".uvmEndorsements.*",
)


def _keyed(place: str) -> bool:
    return place.endswith(tuple(_MAPS))
