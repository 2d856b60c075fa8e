"""Caddy's internal certificate authority: files where Caddy has them, made where they are not there yet.

Run as a file, by a Python that has third-party packages: ``certificates.py FOLDER HOST…``. The lifetimes are Caddy's
own (caddyserver.com/docs/caddyfile/directives/tls): its root lives ten years, a certificate twelve hours.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

AUTHORITY = "pki/authorities/local"
CERTIFICATES = "certificates/local"
_ROOT_LIFE_DAYS = 3650
_LIFE_HOURS = 12


def make(folder: Path, hosts: list[str]) -> None:
    """Make the authority if there is none, and for each host a certificate that is fresh."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def write(file: Path, content: bytes) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(content)

    def text(key: ec.EllipticCurvePrivateKey) -> bytes:
        form = serialization.PrivateFormat.PKCS8
        return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    now = datetime.now(UTC)
    root_file, root_key_file = folder / AUTHORITY / "root.crt", folder / AUTHORITY / "root.key"
    if root_file.exists() and root_key_file.exists():
        root = x509.load_pem_x509_certificate(root_file.read_bytes())
        loaded = serialization.load_pem_private_key(root_key_file.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        root_key = loaded
    else:
        root_key = ec.generate_private_key(ec.SECP256R1())
        name = named("Caddy Local Authority - ECC Root")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(root_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=_ROOT_LIFE_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        write(root_key_file, text(root_key))
        write(root_file, root.public_bytes(serialization.Encoding.PEM))
    for host in hosts:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(named(host))
            .issuer_name(root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=_LIFE_HOURS))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        write(folder / CERTIFICATES / host / f"{host}.key", text(key))
        write(folder / CERTIFICATES / host / f"{host}.crt", certificate.public_bytes(serialization.Encoding.PEM))


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:])
