"""A cluster as the authority on its service accounts, whether its API server can be reached or not."""

from __future__ import annotations

import logging
import threading
from hashlib import sha256
from time import monotonic
from typing import Final, NamedTuple

from edgeroot.auth.claims import ServiceAccount
from edgeroot.auth.identity import AuthenticationError
from edgeroot.auth.jws import UnverifiedToken
from edgeroot.auth.key_set import KeySetError, check_signature
from edgeroot.auth.token import KubernetesSettings
from edgeroot.identity.api_server import ApiServer, ApiServerError, AwayError, Review
from edgeroot.identity.cluster_keys import ClusterKeys

_log: Final = logging.getLogger(__name__)

_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 5.0
_MAX_REVIEWS: Final = 4096


class _Reviewed(NamedTuple):
    """What came of a review. ``refusal`` is empty for a token that the API server stands by."""

    at_s: float
    refusal: str


class Cluster:
    """Checks signatures by the cluster's key set and, online, asks the API server whether it stands by a token.

    While the API server is away the key set alone decides, until a thread that tries again and again reaches it. No
    request waits for that.
    """

    def __init__(self, settings: KubernetesSettings, audience: str) -> None:
        self._settings = settings
        self._audience = audience
        self._server = (
            None
            if settings.api_server is None
            else ApiServer(settings.api_server, ca_file=settings.ca_file, token_file=settings.token_file)
        )
        self._keys = ClusterKeys(settings.jwks_file, None if self._server is None else self._fetch)
        self._lock = threading.Lock()
        self._reviewed: dict[bytes, _Reviewed] = {}
        self._away = False
        self._closed = threading.Event()

    def check(self, token: UnverifiedToken, account: ServiceAccount) -> float:
        """How many seconds old the newest proof is that the token is genuine; AuthenticationError if it is not."""
        check_signature(token, self._keys.find(token.key_id))
        if self._settings.review == "offline" or self._server is None or self._away:
            return 0.0
        name = sha256(token.compact.encode()).digest()
        reviewed = self._reviewed.get(name)
        if reviewed is None or monotonic() - reviewed.at_s >= self._settings.review_interval_s:
            reviewed = self._review(self._server, token, account)
            if reviewed is None:
                return 0.0
            self._remember(name, reviewed)
        if reviewed.refusal:
            raise AuthenticationError(reviewed.refusal)
        return monotonic() - reviewed.at_s

    def close(self) -> None:
        """Ask nobody any more."""
        self._closed.set()
        if self._server is not None:
            self._server.close()

    def _review(self, server: ApiServer, token: UnverifiedToken, account: ServiceAccount) -> _Reviewed | None:
        """None if the API server is away."""
        at_s = monotonic()
        try:
            review = server.review(token.compact, self._audience)
        except AwayError as error:
            self._note_away(error)
            return None
        except ApiServerError as error:
            raise AuthenticationError(f"the token cannot be reviewed: {error}") from error
        return _Reviewed(at_s, judge_review(review, account, self._audience))

    def _remember(self, name: bytes, reviewed: _Reviewed) -> None:
        with self._lock:
            if len(self._reviewed) >= _MAX_REVIEWS:
                self._reviewed.clear()
            self._reviewed[name] = reviewed

    def _fetch(self) -> bytes:
        if self._away or self._server is None:
            raise AwayError("the API server is away")
        try:
            return self._server.key_set()
        except AwayError as error:
            self._note_away(error)
            raise

    def _note_away(self, error: AwayError) -> None:
        with self._lock:
            if self._away or self._closed.is_set():
                return
            self._away = True
        _log.warning("%s; until it is back, tokens are checked with the cluster's key set alone", error)
        threading.Thread(target=self._try_again, name="api-server", daemon=True).start()

    def _try_again(self) -> None:
        wait_s = _FIRST_RETRY_S
        while self._server is not None and not self._closed.wait(wait_s):
            wait_s = min(2 * wait_s, _LAST_RETRY_S)
            try:
                self._keys.take(self._server.key_set())
            except AwayError:
                continue
            except (ApiServerError, KeySetError) as error:
                # It answers, so it can be asked about tokens.
                _log.warning("the API server gives no key set: %s", error)
            with self._lock:
                self._away = False
            _log.warning("the API server is back: it is asked about tokens again")
            return


def judge_review(review: Review, account: ServiceAccount, audience: str) -> str:
    """Why the token is refused; nothing if the API server stands by it.

    It has to speak of this very account: one that was made anew under an old name has another ``uid``.
    """
    if not review.authenticated:
        return f"the cluster does not stand by the token: {review.words or 'no reason given'}"
    if audience not in review.audiences:
        return f"the cluster does not say that the token is for {audience!r}"
    if (review.username, review.uid) != (account.username, account.uid):
        return "the cluster takes the token to be another account's"
    return ""
