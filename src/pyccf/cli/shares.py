"""`pyccf member share` and `recover`: a member's part in bringing a service back.

A member's share of the key to the ledger lies in the ledger, encrypted to the member. `share`
fetches it, and opens it with the member's encryption key, here or elsewhere; `recover` hands it in.
Nothing is handed in before the service asks for it, nor what cannot be a share.
"""

from __future__ import annotations

import click

from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output, pyccf_line
from pyccf.cli.reading import read_bytes, read_text, write_bytes
from pyccf.client import Client, Identity, ServiceError
from pyccf.client.types import EncryptedShare
from pyccf.codec.text import b64, unb64
from pyccf.crypto import shares
from pyccf.crypto.keys import RsaPrivateKey
from pyccf.errors import LocalError

WAITING = "WaitingForRecoveryShares"
RECOVERING = "Recovering"


@click.command("share")
@click.option("--enc-key", metavar="FILE", help="Open it with this RSA private key (PEM file).")
@click.option("--out", "file", metavar="FILE", default="-", help="Where to write (default: print).")
@connection_options("member0")
def share_command(enc_key: str | None, file: str, target: Target) -> None:
    """Fetch your recovery share, in base64: open with --enc-key, else encrypted to you.

    For a key in an HSM or a vault: decrypt what is printed there (RSA-OAEP with SHA-256), and hand
    in the result with `pyccf member recover --share FILE`.
    """
    with target.connect() as client:
        found = _fetch(client, _me(client))
    opened = unb64(found.encrypted_share) if enc_key is None else _open(found, enc_key)
    write_bytes(file, f"{b64(opened)}\n".encode(), secret=enc_key is not None)


@click.command("recover")
@click.option("--enc-key", metavar="FILE", help="Your RSA private key (PEM file), to open it.")
@click.option("--share", "share_file", metavar="FILE", help="The share, opened elsewhere; base64.")
@connection_options("member0")
@json_option
def recover_command(
    enc_key: str | None, share_file: str | None, target: Target, out: Output
) -> None:
    """Hand in your recovery share: fetch it, open it and submit it.

    In a sandbox the member's encryption key is known; else give --enc-key, or --share.
    """
    if enc_key is not None and share_file is not None:
        raise click.UsageError("Give either --enc-key or --share.")
    if share_file is None and enc_key is None:
        enc_key = _sandbox_key(target)
    with target.connect() as client:
        me = _me(client)
        _check_status(client, target)
        if share_file is not None:
            opened = _given(share_file)
        else:
            assert enc_key is not None
            opened = _open(_fetch(client, me), enc_key)
        try:
            submitted = client.submit_share(b64(opened))
        except ServiceError as error:
            if "initiate private recovery" in error.message:
                raise LocalError(
                    "The shares that were handed in do not open the ledger. The service has"
                    " forgotten all of them.",
                    hint="At least one is wrong. All members fetch and hand in theirs again.",
                ) from None
            raise
    out.result(submitted)
    for line in submitted.message.split("\n"):
        out.line(line)
    missing = submitted.recovery_threshold - submitted.submitted_count
    if missing > 0 and not submitted.full_key_submitted:
        out.line(f"{missing} more of the members must hand in their shares.")


def _me(client: Client) -> Identity:
    if client.identity is None:
        raise LocalError(
            "A share belongs to a member", hint="Give --cert and --key of one, or --as member0."
        )
    return client.identity


def _sandbox_key(target: Target) -> str:
    if target.sandbox is not None:
        for party in target.sandbox.members:
            if party.cert == target.cert and party.enc_key is not None:
                return party.enc_key
    raise click.UsageError("Give --enc-key FILE, or --share FILE with the share opened elsewhere.")


def _check_status(client: Client, target: Target) -> None:
    status = client.service_info().status
    if status == RECOVERING:
        raise LocalError(
            "The members have not accepted the recovered service yet",
            hint="First: " + pyccf_line("recover", "accept", *target.words),
        )
    if status != WAITING:
        raise LocalError(
            f"The service is {status}: it does not wait for recovery shares",
            hint="Shares are handed in while a service is being recovered.",
        )


def _fetch(client: Client, me: Identity) -> EncryptedShare:
    try:
        return client.encrypted_share(me.id)
    except ServiceError as error:
        if error.status == 404:
            raise LocalError(
                f"The service holds no recovery share of member {me.id}",
                hint="Shares were issued to the active members that have an encryption key. See:"
                " pyccf member list",
            ) from None
        raise


def _open(found: EncryptedShare, enc_key: str) -> bytes:
    try:
        key = RsaPrivateKey.from_pem(read_bytes(enc_key))
    except ValueError:
        raise LocalError(
            f"{enc_key} is not an RSA private key in PEM",
            hint="Give the member's encryption key, not the one it signs with.",
        ) from None
    try:
        return _checked(key.decrypt_oaep(unb64(found.encrypted_share)), "The share")
    except ValueError:
        raise LocalError(
            f"{enc_key} does not open the share of member {found.member_id}",
            hint="It was encrypted to the key the member had when shares were issued last.",
        ) from None


def _given(file: str) -> bytes:
    try:
        return _checked(unb64(read_text(file).strip()), file)
    except ValueError:
        raise LocalError(f"{file} is not base64", hint="It must hold the opened share.") from None


def _checked(share: bytes, what: str) -> bytes:
    if len(share) != shares.SHARE_SIZE:
        raise LocalError(
            f"{what} has {len(share)} bytes; an opened recovery share has {shares.SHARE_SIZE}",
            hint="Is it still encrypted?",
        )
    return share
