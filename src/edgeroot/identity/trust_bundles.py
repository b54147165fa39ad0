"""The keys of SPIFFE trust domains, as the agent on this machine tells (Workload API, ``FetchJWTBundles``)."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import Final

from spiffe import JwtBundleSet, WorkloadApiClient
from spiffe.errors import PySpiffeError

from edgeroot.auth.identity import AuthenticationError
from edgeroot.auth.key_set import KeySet, TrustedKey, trust

_log: Final = logging.getLogger(__name__)

_FIRST_BUNDLE_TIMEOUT_S: Final = 2.0
_RETRY_S: Final = 1.0


class TrustBundles:
    """What the agent sent last, kept while it is away. ``endpoint`` is the ``unix:`` URI of its socket."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._bundles: dict[str, KeySet] = {}
        self._told = threading.Event()
        self._closed = threading.Event()
        self._trouble = ""
        # Only who comes in the first moments waits: without an agent nobody would get past those who do.
        self._patient_until_s = monotonic() + _FIRST_BUNDLE_TIMEOUT_S
        self._follower = threading.Thread(target=self._follow, name="workload-api", daemon=True)
        self._follower.start()

    def find(self, trust_domain: str, key_id: str) -> TrustedKey:
        """The trust domain's key with this id; AuthenticationError if there is none."""
        if not self._told.wait(max(0.0, self._patient_until_s - monotonic())):
            raise AuthenticationError(
                f"there is no trust bundle to check the token with: {self._trouble or 'the agent says nothing'} "
                f"({self._endpoint})"
            )
        bundle = self._bundles.get(trust_domain)
        if bundle is None:
            raise AuthenticationError(f"the trust domain {trust_domain} is not trusted here")
        key = bundle.get(key_id)
        if key is None:
            raise AuthenticationError(f"the trust domain {trust_domain} has no key {key_id[:80]!r}")
        return key

    def close(self) -> None:
        """Listen to the agent no longer."""
        self._closed.set()
        self._follower.join()

    def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                client = WorkloadApiClient(self._endpoint)
            except PySpiffeError as error:
                self._note(error)
            else:
                self._listen(client)
                client.close()
            self._closed.wait(_RETRY_S)

    def _listen(self, client: WorkloadApiClient) -> None:
        """Until the agent goes away or we are closed."""
        ended = threading.Event()

        def end(error: Exception) -> None:
            self._note(error)
            ended.set()

        stream = client.stream_jwt_bundles(self._take, end, retry_connect=False)
        while not (ended.is_set() or self._closed.is_set()):
            ended.wait(0.1)
        stream.cancel()

    def _take(self, told: JwtBundleSet) -> None:
        # The whole truth each time: a trust domain that is no longer told of is no longer trusted.
        self._bundles = {
            bundle.trust_domain.name: {
                key_id: trusted for key_id, key in bundle.jwt_authorities.items() if (trusted := trust(key)) is not None
            }
            for bundle in told.bundles
        }
        self._trouble = ""
        self._told.set()

    def _note(self, error: Exception) -> None:
        if str(error) != self._trouble and not self._closed.is_set():
            _log.warning("no trust bundles from the SPIFFE agent: %s", error)
            self._trouble = str(error)
