"""The keeper's side of the node: the workload's keys in the service, under the workload's identity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm

from edgeroot.client import Client
from edgeroot.client.errors import ClientError, DoesNotExistError
from edgeroot.client.keys import EcServiceKey, RsaServiceKey
from edgeroot.edge.certificates.keeper import NodeError
from edgeroot.edge.certificates.request import make_request, public_key_of
from edgeroot.edge.certificates.resource import HardwareCertificate

Connect: TypeAlias = Callable[[str, str], Client]
"""A client of the node's service that is authenticated as a service account, of a namespace and a name."""
AskVerifier: TypeAlias = Callable[[Callable[[bytes], bytes]], str]
"""A session with the verifier: it gives the challenge to the function, and gives the result for its evidence."""


class ServiceKeys:
    """Every call is a connection of its own: calls are seldom, and each has its own identity."""

    def __init__(self, connect: Connect, ask_verifier: AskVerifier) -> None:
        self._connect = connect
        self._ask_verifier = ask_verifier

    def public_key(self, certificate: HardwareCertificate) -> bytes | None:
        with self._service(certificate) as client:
            try:
                key = client.public_key(certificate.key_name)
            except DoesNotExistError:
                return None
            return _checked(key, certificate)

    def create(self, certificate: HardwareCertificate) -> bytes:
        with self._service(certificate) as client:
            client.generate_key(certificate.key_name, certificate.attributes)
            return _checked(client.public_key(certificate.key_name), certificate)

    def request(self, certificate: HardwareCertificate) -> bytes:
        with self._service(certificate) as client:
            key = client.private_key(certificate.key_name)
            if not isinstance(key, EcServiceKey | RsaServiceKey):
                raise NodeError(f"the key {certificate.key_name} is of another kind: choose another spec.keyName")
            return make_request(certificate, key)

    def attest(self, certificate: HardwareCertificate) -> str:
        with self._service(certificate) as client:
            return self._ask_verifier(lambda challenge: client.key_statement(certificate.key_name, challenge))

    @contextmanager
    def _service(self, certificate: HardwareCertificate) -> Iterator[Client]:
        try:
            with self._connect(certificate.namespace, certificate.service_account_name) as client:
                yield client
        except (ClientError, OSError, UnsupportedAlgorithm) as error:
            raise NodeError(f"the node's service: {error}") from error


def _checked(key: object, certificate: HardwareCertificate) -> bytes:
    try:
        return public_key_of(key, certificate)
    except ValueError as error:
        raise NodeError(
            f"the key {certificate.key_name} is no {certificate.key_algorithm}: choose another spec.keyName"
        ) from error
