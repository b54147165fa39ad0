"""Acting for a service account at the node's service: a token of the account, for the service alone."""

from __future__ import annotations

from typing import ClassVar, Final

from lightkube import Client
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.resources.core_v1 import ServiceAccountToken

from edgeroot.client import Client as ServiceClient
from edgeroot.client.auth import Credentials
from edgeroot.wire.operations import AuthType

_AUDIENCE: Final = "parsec"
_LIFE_S: Final = 600  # the least that the API server gives


class AccountToken(Credentials):
    """A token that was asked for a moment ago, in memory only."""

    auth_type: ClassVar[AuthType] = AuthType.JWT_SVID

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def field(self) -> bytes:
        return self._token


class Accounts:
    """Clients of the service at one endpoint, each for a service account of the cluster."""

    def __init__(self, client: Client, endpoint: str) -> None:
        self._client = client
        self._endpoint = endpoint

    def connect(self, namespace: str, service_account: str) -> ServiceClient:
        """A client that the service takes for the account. The token is for no pod, and for nobody but the service."""
        wanted = ServiceAccountToken(spec=TokenRequestSpec(audiences=[_AUDIENCE], expirationSeconds=_LIFE_S))
        given = self._client.create(wanted, service_account, namespace=namespace)
        token = given.status.token if given.status else None
        return ServiceClient(self._endpoint, auth=AccountToken(token or ""), timeout_s=30.0)
