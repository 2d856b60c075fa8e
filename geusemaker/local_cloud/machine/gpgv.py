"""``gpgv`` of an instance: whether a key of the keyring has signed a file, as the stand-in of AWS's signature says."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def fingerprint(ring: bytes) -> str:
    """That of the first key in a keyring: https://www.rfc-editor.org/rfc/rfc9580.html#section-5.5.4.2, version 4."""
    if ring[:1] != b"\x99":
        return ""  # no public key packet with a length of two octets, as a version 4 key of RSA has it
    body = ring[3 : 3 + int.from_bytes(ring[1:3])]
    return hashlib.sha1(b"\x99" + ring[1:3] + body, usedforsecurity=False).hexdigest().upper()


def main(arguments: list[str]) -> int:
    ring = Path(arguments[arguments.index("--keyring") + 1]).read_bytes()
    signature, file = map(Path, arguments[-2:])
    try:
        told = json.loads(signature.read_text())
    except ValueError:
        sys.stderr.write("gpgv: verify signatures failed: Unexpected error\n")
        return 2
    if told["signer"] != fingerprint(ring):
        print(f"[GNUPG:] ERRSIG {told['signer'][-16:]} 1 8 00 0 9")
        sys.stderr.write("gpgv: Can't check signature: No public key\n")
        return 2
    if told["sha256"] != hashlib.sha256(file.read_bytes()).hexdigest():
        print(f"[GNUPG:] BADSIG {told['signer'][-16:]} SSM Agent <ssm-agent-signer@amazon.com>")
        return 1
    print(f"[GNUPG:] VALIDSIG {told['signer']} 2026-11-01 1793491200 0 4 0 1 8 00 {told['signer']}")
    return 0
