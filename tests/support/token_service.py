"""A service that takes tokens: an ordinary listener for Unix users, slots for pods, and a kubelet's test double."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeroot.client import Client, TokenFile
from tests.support.pod_resources import PodResourcesDouble, serving
from tests.support.service import SOFTWARE_PROVIDER, Service, running_service
from tests.support.tokens import ISSUER, Issuer

TILL = "spiffe://cluster.local/ns/shop/sa/till"
CAMERA = "spiffe://cluster.local/ns/yard/sa/camera"
_SLOTS = """
[[listener]]
listener_type = "DomainSocket"
timeout = {timeout_ms}
socket_path = "{folder}/run/parsec.sock"
authenticators = ["JwtSvid"]
slots = {slots}
{listener}
"""
_TOKENS = """
[[authenticator]]
auth_type = "JwtSvid"
{authenticator}
[authenticator.kubernetes]
issuer = "{issuer}"
review = "offline"
jwks_file = "{folder}/issuer/keys.json"
review_interval = {review_interval_ms}
{kubernetes}
"""


@dataclass(frozen=True, slots=True)
class TokenService:
    """The till's pod holds slot 0, the camera's slot 1. ``issuer`` signs their tokens."""

    service: Service
    issuer: Issuer
    pods: PodResourcesDouble

    def slot_path(self, slot: int) -> Path:
        return self.service.folder / f"run/slots/{slot:02}/parsec.sock"

    def token_file(self, token: bytes, name: str = "token") -> Path:
        path = self.service.folder / name
        path.write_bytes(token)
        return path

    def client(self, token: bytes, slot: int, *, name: str = "token", timeout_s: float = 60.0) -> Client:
        """A client at this slot that shows this token, out of a file of this name."""
        credentials = TokenFile(self.token_file(token, name))
        return Client(f"unix:{self.slot_path(slot)}", auth=credentials, timeout_s=timeout_s)

    def till_token(self, *, life_s: float = 600) -> bytes:
        return self.issuer.service_account("shop/till", pod="till-0", life_s=life_s)

    def camera_token(self, *, life_s: float = 600) -> bytes:
        return self.issuer.service_account("yard/camera", pod="camera-0", life_s=life_s)

    def configure(self, old: str, new: str) -> None:
        """Change the configuration, which is read at the next start or reload."""
        text = self.service.config_path.read_text()
        assert old in text, f"no {old!r} in the configuration"
        self.service.config_path.write_text(text.replace(old, new))


@contextmanager
def running_token_service(
    *,
    core: str = "",
    listener: str = "",
    authenticator: str = "",
    kubernetes: str = "",
    extra: str = "",
    provider: str = SOFTWARE_PROVIDER,
    kubelet: bool = True,
    slots: int = 2,
    review_interval_ms: int = 60_000,
    timeout_ms: int = 1000,
    start: bool = True,
) -> Iterator[TokenService]:
    """As :func:`running_service`, with these lines in the tables of the slots' listener and of the authenticator.

    Without ``kubelet`` there is nobody who says which pod holds a slot, and the process that calls has no gRPC server.
    """
    with running_service(core=core, extra=extra, provider=provider, start=False) as service, ExitStack() as stack:
        folder = service.folder
        text = service.config_path.read_text()
        text = text.replace("[listener]", "[[listener]]").replace("[authenticator]", "[[authenticator]]")
        text = text.replace('parsec.sock"\n', 'parsec.sock"\nauthenticators = ["UnixPeerCredentials"]\n', 1)
        text += _SLOTS.format(folder=folder, timeout_ms=timeout_ms, slots=slots, listener=listener)
        if kubelet:
            kubernetes += f'\npod_resources = "unix:{folder}/pods.sock"'
        text += _TOKENS.format(
            folder=folder,
            issuer=ISSUER,
            authenticator=authenticator,
            kubernetes=kubernetes,
            review_interval_ms=review_interval_ms,
        )
        service.config_path.write_text(text)
        issuer = Issuer()
        (folder / "issuer").mkdir()
        issuer.write_key_set(folder / "issuer/keys.json")
        pods = PodResourcesDouble()
        pods.holders.update({0: "shop/till-0", 1: "yard/camera-0"})
        if kubelet:
            stack.enter_context(serving(pods, folder / "pods.sock"))
        if start:
            service.start()
        yield TokenService(service, issuer, pods)
