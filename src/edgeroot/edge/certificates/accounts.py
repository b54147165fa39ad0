"""Acting for a service account at the node's service: a token of the account, for the service alone."""

from __future__ import annotations

from typing import Final

from lightkube import ApiError, Client
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ServiceAccountToken

from edgeroot.client import Client as ServiceClient
from edgeroot.client import Token
from edgeroot.edge.certificates.keeper import NodeError

_AUDIENCE: Final = "parsec"
_NOT_FOUND: Final = 404
_LIFE_S: Final = 600  # the least that the API server gives


class Accounts:
    """Clients of the service at one endpoint, each for a service account of the cluster."""

    def __init__(self, client: Client, endpoint: str) -> None:
        self._client = client
        self._endpoint = endpoint

    def connect(self, namespace: str, service_account: str) -> ServiceClient:
        """A client that the service takes for the account. The token is for no pod, and for nobody but the service."""
        wanted = ServiceAccountToken(
            metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[_AUDIENCE], expirationSeconds=_LIFE_S)
        )
        try:
            given = self._client.create(wanted, service_account, namespace=namespace)
        except ApiError as error:
            if error.status.code == _NOT_FOUND:
                raise NodeError(f"there is no service account {service_account} in {namespace}") from error
            raise
        token = given.status.token if given.status else None
        return ServiceClient(self._endpoint, auth=Token(token or ""), timeout_s=30.0)
