"""A cluster's certificate authority, what it certifies, and the files that say who one is to the API server."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Against clocks that differ by a little; nothing here outlives a test run.
_BACKDATED: Final = datetime.timedelta(minutes=5)
_VALID: Final = datetime.timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority whose files lie in a folder: ``ca.crt``, ``ca.key`` and what it certified."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new one, with a key pair for service accounts' tokens beside it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = cls(folder)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgeroot test cluster")])
        builder = _validity(x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()))
        for extension, critical in (
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_key_usage(certifies=True), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical)
        _write(authority.own, builder.sign(key, hashes.SHA256()), key)
        # RSA as clusters have it by default: the tokens are RS256.
        signer = rsa.generate_private_key(65537, 2048)
        _write_private(authority.token_key, signer)
        authority.token_public_key.write_bytes(
            signer.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return authority

    @property
    def own(self) -> Identity:
        return Identity(self.folder / "ca.crt", self.folder / "ca.key")

    @property
    def token_key(self) -> Path:
        return self.folder / "service-accounts.key"

    @property
    def token_public_key(self) -> Path:
        return self.folder / "service-accounts.pub"

    def identity(
        self, user: str, *, groups: Sequence[str] = (), hosts: Sequence[str] = (), file_name: str = ""
    ) -> Identity:
        """A certificate for a user (the CN) in groups (each an O), and for a server that is reached under ``hosts``."""
        stem = file_name or user.replace(":", "-")
        place = Identity(self.folder / f"{stem}.crt", self.folder / f"{stem}.key")
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        issuer = x509.load_pem_x509_certificate(self.own.certificate.read_bytes())
        signer = serialization.load_pem_private_key(self.own.key.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        builder = _validity(
            x509.CertificateBuilder()
            .subject_name(x509.Name(names))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
        )
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_key_usage(certifies=False), True),
            (x509.ExtendedKeyUsage(usages), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        ]
        if hosts:
            extensions.append((x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        _write(place, builder.sign(signer, hashes.SHA256()), key)
        return place

    def kubeconfig(self, path: Path, server: str, identity: Identity) -> Path:
        """Write a kubeconfig that needs no other file; JSON, which is YAML too."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "cluster",
                    "cluster": {"server": server, "certificate-authority-data": _encoded(self.own.certificate)},
                }
            ],
            "users": [
                {
                    "name": "user",
                    "user": {
                        "client-certificate-data": _encoded(identity.certificate),
                        "client-key-data": _encoded(identity.key),
                    },
                }
            ],
            "contexts": [{"name": "only", "context": {"cluster": "cluster", "user": "user"}}],
            "current-context": "only",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(content, indent=1))
        return path


def _validity(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALID)
    )


def _key_usage(*, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=certifies,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(place: Identity, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    place.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_private(place.key, key)


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
