"""Whose token it is: the order of the checks, and for how long their result holds."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Final

from edgeroot.auth.claims import Pod, judge_service_account, judge_workload
from edgeroot.auth.identity import AuthenticationError
from edgeroot.auth.jws import UnverifiedToken, read_token
from edgeroot.auth.key_set import check_signature
from edgeroot.auth.token import KubernetesSettings, TokenSettings, TokenVerdict, faults
from edgeroot.identity.cluster import Cluster
from edgeroot.identity.holders import SlotHolders
from edgeroot.identity.trust_bundles import TrustBundles

_BUNDLES_HOLD_S: Final = 5.0


class TokenVerifier:
    """Judges tokens, whoever brings them. May be used by several threads; the issuer alone decides by which rules.

    Threads and connections belong to the process that made it: do not fork afterwards. ValueError for settings that
    contradict each other.
    """

    def __init__(self, settings: TokenSettings, *, clock: Callable[[], float] = time) -> None:
        if problems := faults(settings):
            raise ValueError("; ".join(problems))
        self._settings = settings
        self._clock = clock
        kubernetes = settings.kubernetes
        self._cluster = None if kubernetes is None else Cluster(kubernetes, settings.audience)
        self._holders = (
            None
            if kubernetes is None or kubernetes.pod_resources is None
            else SlotHolders(kubernetes.pod_resources, kubernetes.resource)
        )
        self._bundles = None if settings.workload_endpoint is None else TrustBundles(settings.workload_endpoint)

    def verify(self, token: bytes, slot: int | None) -> TokenVerdict:
        """Whose token this is, which came through this slot (None: not through one). AuthenticationError if refused.

        It may take seconds: API server, kubelet and agent are asked where need be.
        """
        now_s = self._clock()
        read = read_token(token)
        kubernetes = self._settings.kubernetes
        if kubernetes is not None and self._cluster is not None and read.claims.get("iss") == kubernetes.issuer:
            return self._service_account(read, slot, now_s, kubernetes=kubernetes, cluster=self._cluster)
        if self._bundles is None:
            raise AuthenticationError("the token is from an issuer that is not trusted here")
        return self._workload(read, now_s, self._bundles)

    def close(self) -> None:
        """End what was begun: connections and threads."""
        for part in (self._cluster, self._holders, self._bundles):
            if part is not None:
                part.close()

    def _service_account(
        self,
        token: UnverifiedToken,
        slot: int | None,
        now_s: float,
        *,
        kubernetes: KubernetesSettings,
        cluster: Cluster,
    ) -> TokenVerdict:
        account = judge_service_account(token.claims, self._settings, now_s, at_slot=slot is not None)
        age_s = cluster.check(token, account)
        if account.pod is not None:
            age_s = max(age_s, self._check_pod(account.pod, slot, kubernetes))
        # Counted from when the oldest proof was given: what is taken away is to be refused within the interval.
        until_s = self._clock() - age_s + kubernetes.review_interval_s
        return self._verdict(account.application(kubernetes.trust_domain), until_s, account.expires_at_s)

    def _check_pod(self, pod: Pod, slot: int | None, kubernetes: KubernetesSettings) -> float:
        """How many seconds ago the pod was seen to be the one that calls."""
        if slot is None:
            if kubernetes.pods_without_slot:
                return 0.0
            raise AuthenticationError(
                "a pod's token is taken only through the slot that the pod holds; give the pod one "
                f"({kubernetes.resource}), or set pods_without_slot to true"
            )
        if self._holders is None:
            raise AuthenticationError(f"nobody can tell which pod holds slot {slot}: set kubernetes.pod_resources")
        return self._holders.check(slot, pod)

    def _workload(self, token: UnverifiedToken, now_s: float, bundles: TrustBundles) -> TokenVerdict:
        workload = judge_workload(token.claims, self._settings, now_s)
        trust_domain = workload.spiffe_id.trust_domain
        kubernetes = self._settings.kubernetes
        if kubernetes is not None and trust_domain == kubernetes.trust_domain:
            # Two issuers that give the same names would each own the other's keys.
            raise AuthenticationError(f"names in {trust_domain} are the cluster's to give; see kubernetes.trust_domain")
        check_signature(token, bundles.find(trust_domain, token.key_id))
        return self._verdict(str(workload.spiffe_id), now_s + _BUNDLES_HOLD_S, workload.expires_at_s)

    def _verdict(self, application: str, until_s: float, expires_at_s: float) -> TokenVerdict:
        return TokenVerdict(application, min(until_s, expires_at_s + self._settings.clock_skew_s))
