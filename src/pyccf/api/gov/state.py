"""Reading the service's own state over HTTP: who and what it trusts (spec: gov-api.md §6).

All answers come from tables; members are shown in camel case, except where the original shows the
stored record as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from pyccf.api.gov.proposals import JAVASCRIPT
from pyccf.api.gov.requests import not_found, path_id
from pyccf.attest import virtual
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.codec.text import b64, unb64
from pyccf.crypto.keys import PublicKey, RsaPublicKey
from pyccf.errors import InvalidEvidence, RpcError
from pyccf.http.message import query_parameters
from pyccf.service import info, members, tables
from pyccf.types import Json, TxID

if TYPE_CHECKING:
    from pyccf.apps.context import Context
    from pyccf.kv.tx import Tx


# --- the service ------------------------------------------------------------------------------


def get_constitution(ctx: Context) -> None:
    """GET the constitution's text."""
    constitution = tables.get_text(ctx.tx, tables.CONSTITUTION)
    if constitution is None:
        raise not_found("Constitution not found")
    ctx.text(constitution, content_type=JAVASCRIPT)


def get_info(ctx: Context) -> None:
    """GET status, identity and configuration of the service."""
    service = info.read(ctx.tx)
    if service is None:
        raise not_found("Service info not yet available")
    answer: dict[str, Json] = {
        "status": service.get("status"),
        "certificate": service.get("cert"),
        "recoveryCount": tables.int_member(service, "recovery_count", 0),
        "serviceData": service.get("service_data"),
    }
    created = service.get("current_service_create_txid")
    if created is not None:
        answer["creationTransactionId"] = created
    before = service.get("previous_service_identity_version")
    if isinstance(before, int):
        view = ctx.services.view_of(before)
        if view is not None:
            answer["previousServiceCreationTransactionId"] = str(TxID(view, before))
    config = info.config(ctx.tx)
    if config is not None:
        answer["configuration"] = {
            "recoveryThreshold": tables.int_member(config, "recovery_threshold", 0),
            "maximumNodeCertificateValidityDays": tables.int_member(
                config, "maximum_node_certificate_validity_days", info.CERTIFICATE_DAYS_MAX
            ),
            "maximumServiceCertificateValidityDays": tables.int_member(
                config, "maximum_service_certificate_validity_days", info.CERTIFICATE_DAYS_MAX
            ),
            "recentCoseProposalsWindowSize": info.recent_proposals_window(ctx.tx),
        }
    ctx.json(answer)


# --- the application --------------------------------------------------------------------------

_OPERATION = {
    "jsModule": ("js_module", ""),
    "jsFunction": ("js_function", ""),
    "forwardingRequired": ("forwarding_required", "always"),
    "redirectionStrategy": ("redirection_strategy", "to_primary"),
    "authnPolicies": ("authn_policies", None),
    "mode": ("mode", "readwrite"),
    "openApi": ("openapi", None),
}
"""Member of the answer: member of the row, and what stands for it when it is absent."""


def get_javascript_app(ctx: Context) -> None:
    """GET the endpoints of the JavaScript application."""
    case = query_parameters(ctx.request.query).get("case")
    if case not in (None, "original"):
        raise RpcError(
            400,
            "InvalidQueryParameterValue",
            "Accepted values for the 'case' query parameter are: original",
        )
    endpoints: dict[str, dict[str, Json]] = {}
    for key, row in tables.objects(ctx.tx, tables.ENDPOINTS):
        verb, _, uri = key.partition(" ")
        endpoints.setdefault(uri, {})[verb] = row if case == "original" else _operation(row)
    ctx.json({"endpoints": {uri: dict(verbs) for uri, verbs in endpoints.items()}})


def _operation(row: dict[str, Json]) -> dict[str, Json]:
    return {name: row.get(stored, absent) for name, (stored, absent) in _OPERATION.items()}


def get_javascript_modules(ctx: Context) -> None:
    """GET the names of all modules."""
    names = [key.decode("utf-8", "replace") for key, _ in ctx.tx.map(tables.MODULES).foreach()]
    ctx.json({"value": [{"moduleName": name} for name in names]})


def get_javascript_module(ctx: Context) -> None:
    """GET the source of a module; its name is the whole path with the leading slash."""
    name = unquote_plus(ctx.params["moduleName"])
    source = ctx.tx.map(tables.MODULES).get(name.encode())
    if source is None:
        raise not_found(f"Module {name} does not exist.")
    ctx.headers["content-type"] = JAVASCRIPT
    ctx.body = source


# --- what may join ----------------------------------------------------------------------------


def get_join_policy(ctx: Context) -> None:
    """GET which programs may join, by platform."""
    tx = ctx.tx
    ctx.json(
        {
            "sgx": {"measurements": _allowed(tx, tables.NODES_CODE_IDS)},
            "virtual": {
                "measurements": _allowed(tx, tables.VIRTUAL_MEASUREMENTS),
                "hostData": _keys(tx, tables.VIRTUAL_HOST_DATA),
            },
            "snp": {
                "measurements": _allowed(tx, tables.SNP_MEASUREMENTS),
                "hostData": _rows(tx, tables.SNP_HOST_DATA),
                "uvmEndorsements": _rows(tx, tables.SNP_UVM_ENDORSEMENTS),
                "tcbVersions": _rows(tx, tables.SNP_TCB_VERSIONS),
            },
        }
    )


def _keys(tx: Tx, table: str) -> list[Json]:
    return [key.decode("utf-8", "replace") for key, _ in tx.map(table).foreach()]


def _allowed(tx: Tx, table: str) -> list[Json]:
    return [
        key.decode("utf-8", "replace")
        for key, raw in tx.map(table).foreach()
        if tables.decode_row(table, raw) == tables.ALLOWED_TO_JOIN
    ]


def _rows(tx: Tx, table: str) -> dict[str, Json]:
    return {
        key.decode("utf-8", "replace"): tables.decode_row(table, raw)
        for key, raw in tx.map(table).foreach()
    }


def get_jwk(ctx: Context) -> None:
    """GET token issuers, their keys, and trusted authorities."""
    tx = ctx.tx
    issuers: dict[str, Json] = {}
    for issuer, row in tables.objects(tx, tables.JWT_ISSUERS):
        shown: dict[str, Json] = {"autoRefresh": bool(row.get("auto_refresh"))}
        if row.get("ca_cert_bundle_name") is not None:
            shown["caCertBundleName"] = row["ca_cert_bundle_name"]
        issuers[issuer] = shown
    keys: dict[str, Json] = {}
    for kid, rows in _rows(tx, tables.JWT_KEYS).items():
        if isinstance(rows, list):
            keys[kid] = [_signing_key(row) for row in rows]
    ctx.json(
        {
            "issuers": issuers,
            "keys": keys,
            "caCertBundles": _rows(tx, tables.CA_CERT_BUNDLES),
        }
    )


def _signing_key(row: Json) -> dict[str, Json]:
    if not isinstance(row, dict):
        raise RpcError(500, "InternalError", "invalid signing key")
    try:
        pem = _public_pem(unb64(str(row.get("public_key", ""))))
    except ValueError:
        raise RpcError(500, "InternalError", "invalid signing key") from None
    return {"publicKey": pem, "issuer": row.get("issuer"), "constraint": row.get("constraint")}


def _public_pem(der: bytes) -> str:
    """A public key as PEM, RSA or on a curve. Raises ValueError."""
    try:
        return RsaPublicKey.from_der(der).pem()
    except ValueError:
        return PublicKey.from_der(der).pem()


# --- members, users, nodes --------------------------------------------------------------------


def get_members(ctx: Context) -> None:
    """GET every member."""
    rows = tables.objects(ctx.tx, tables.MEMBERS_INFO)
    ctx.json({"value": [_member(ctx.tx, ident, row) for ident, row in rows]})


def get_member(ctx: Context) -> None:
    """GET one member."""
    ident = path_id(ctx, "memberId", "member")
    row = tables.get_object(ctx.tx, tables.MEMBERS_INFO, ident)
    if row is None:
        raise not_found(f"Member m[{ident}] does not exist.")
    ctx.json(_member(ctx.tx, ident, row))


def _member(tx: Tx, ident: str, row: dict[str, Json]) -> dict[str, Json]:
    cert = tables.get_raw(tx, tables.MEMBERS_CERTS, ident)
    key = tables.get_raw(tx, tables.MEMBERS_ENCRYPTION_KEYS, ident)
    shown: dict[str, Json] = {
        "memberId": ident,
        "status": row.get("status"),
        "memberData": row.get("member_data"),
        "recoveryRole": members.effective_role(row, key).value,
    }
    if cert is not None:
        shown["certificate"] = cert
    if key is not None:
        shown["publicEncryptionKey"] = key
    return shown


def get_users(ctx: Context) -> None:
    """GET every user."""
    rows = ctx.tx.map(tables.USERS_CERTS).foreach()
    ctx.json({"value": [_user(ctx.tx, key.decode("utf-8", "replace"), raw) for key, raw in rows]})


def get_user(ctx: Context) -> None:
    """GET one user."""
    ident = path_id(ctx, "userId", "user")
    raw = ctx.tx.map(tables.USERS_CERTS).get(ident.encode())
    if raw is None:
        raise not_found(f"User u[{ident}] does not exist.")
    ctx.json(_user(ctx.tx, ident, raw))


def _user(tx: Tx, ident: str, cert: bytes) -> dict[str, Json]:
    return {
        "userId": ident,
        "certificate": cert.decode("utf-8", "replace"),
        # The whole record is shown, as the original does.
        "userData": tables.get_json(tx, tables.USERS_INFO, ident),
    }


def get_nodes(ctx: Context) -> None:
    """GET every node."""
    rows = tables.objects(ctx.tx, tables.NODES_INFO)
    ctx.json({"value": [_node(ctx.tx, ident, row) for ident, row in rows]})


def get_node(ctx: Context) -> None:
    """GET one node."""
    ident = path_id(ctx, "nodeId", "node")
    row = tables.get_object(ctx.tx, tables.NODES_INFO, ident)
    if row is None:
        raise not_found(f"Node n[{ident}] does not exist.")
    ctx.json(_node(ctx.tx, ident, row))


def _node(tx: Tx, ident: str, row: dict[str, Json]) -> dict[str, Json]:
    interfaces = row.get("rpc_interfaces")
    shown: dict[str, Json] = {
        "nodeId": ident,
        "status": row.get("status"),
        "nodeData": row.get("node_data"),
        "retiredCommitted": bool(row.get("retired_committed")),
        "quoteInfo": _quote(row.get("quote_info")),
        "rpcInterfaces": {
            name: _interface(interface)
            for name, interface in (interfaces if isinstance(interfaces, dict) else {}).items()
        },
    }
    cert = tables.get_raw(tx, tables.NODES_ENDORSED_CERTIFICATES, ident)
    if cert is not None:
        shown["certificate"] = cert
    return shown


def _interface(value: Json) -> dict[str, Json]:
    row = value if isinstance(value, dict) else {}
    shown: dict[str, Json] = {"publishedAddress": row.get("published_address", "")}
    if row.get("app_protocol") is not None:
        shown["protocol"] = row["app_protocol"]
    return shown


def _quote(value: Json) -> dict[str, Json]:
    """Evidence of a node, as far as it is shown."""
    try:
        quote = QuoteInfo.from_json(value)
        return {"format": quote.format.value, **_QUOTES[quote.format](quote)}
    except InvalidEvidence as e:
        raise RpcError(500, "InternalError", e.message) from None


def _virtual(quote: QuoteInfo) -> dict[str, Json]:
    claims = virtual.verify(quote)
    return {
        "rawQuote": b64(quote.quote),
        "details": {
            "measurement": claims.measurement.decode(),
            "reportData": b64(claims.report_data),
            "hostData": claims.host_data,
        },
    }


def _snp(quote: QuoteInfo) -> dict[str, Json]:
    shown: dict[str, Json] = {}
    if quote.uvm_endorsements is not None:
        shown["uvmEndorsements"] = b64(quote.uvm_endorsements)
    if quote.endorsed_tcb is not None:
        try:
            shown["endorsedTcb"] = b64(bytes.fromhex(quote.endorsed_tcb))
        except ValueError:
            raise InvalidEvidence("Member endorsed_tcb is not hexadecimal") from None
    return shown


def _sgx(quote: QuoteInfo) -> dict[str, Json]:
    return {"quote": b64(quote.quote), "endorsements": b64(quote.endorsements)}


_QUOTES: dict[Format, Callable[[QuoteInfo], dict[str, Json]]] = {
    Format.VIRTUAL: _virtual,
    Format.SNP: _snp,
    Format.SGX: _sgx,
}


# --- transactions -----------------------------------------------------------------------------


def get_transaction(ctx: Context) -> None:
    """GET what is known of a transaction id."""
    text = ctx.params["transactionId"]
    txid = TxID.parse(text)
    if txid is None:
        raise RpcError(
            400,
            "InvalidQueryParameterValue",
            f"The value '{text}' passed as parameter 'transactionId' could not be converted to a"
            " valid Transaction ID.",
        )
    _transaction(ctx, txid)


def get_commit(ctx: Context) -> None:
    """GET the last committed transaction."""
    _transaction(ctx, ctx.services.last_committed())


def _transaction(ctx: Context, txid: TxID) -> None:
    ctx.json({"status": ctx.services.tx_status(txid).value, "transactionId": str(txid)})
