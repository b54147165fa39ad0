"""A test double of a SPIFFE agent: a real gRPC server over a Unix socket with the Workload API's ``FetchJWTBundles``.

It is not SPIRE, of which there is no package here. The messages are those of the package ``spiffe``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from spiffe._proto.workload_pb2 import JWTBundlesRequest, JWTBundlesResponse

from tests.support.tokens import Issuer


class WorkloadApiDouble:
    """Tells whoever asks of the trust domains' bundles, and again after each ``tell``. ``refusal`` is told instead."""

    def __init__(self, **trust_domains: Issuer) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._bundles: dict[str, bytes] = {}
        self._stopped = False
        self.refusal: grpc.StatusCode | None = None
        self.questions = 0
        self.tell({name.replace("_", "."): issuer for name, issuer in trust_domains.items()})

    def tell(self, trust_domains: dict[str, Issuer]) -> None:
        self.tell_raw(
            {f"spiffe://{name}": json.dumps(issuer.key_set()).encode() for name, issuer in trust_domains.items()}
        )

    def tell_raw(self, bundles: dict[str, bytes]) -> None:
        with self._changed:
            self._bundles = bundles
            self._version += 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def fetch_jwt_bundles(self, _: JWTBundlesRequest, context: grpc.ServicerContext) -> Iterator[JWTBundlesResponse]:
        self.questions += 1
        # Without this header no agent answers (SPIFFE Workload Endpoint, clause 4): it is not in forged requests.
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        if self.refusal is not None:
            context.abort(self.refusal, "no identity issued")
        told = 0
        while context.is_active():
            with self._changed:
                if self._version == told and not self._stopped:
                    self._changed.wait(0.2)
                if self._stopped:
                    return
                if self._version == told:
                    continue
                told, response = self._version, JWTBundlesResponse(bundles=self._bundles)
            yield response


@contextmanager
def serving_bundles(double: WorkloadApiDouble, path: Path) -> Iterator[WorkloadApiDouble]:
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    handler = grpc.unary_stream_rpc_method_handler(
        double.fetch_jwt_bundles, JWTBundlesRequest.FromString, JWTBundlesResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {"FetchJWTBundles": handler}),)
    )
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield double
    finally:
        double.end()
        server.stop(None).wait()
