"""What `edgeroot doctor` asks of a client: the endpoint, the service behind it, and a key from cradle to grave."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeroot.cli.doctor import Finding, Subject
from edgeroot.client.commands.session import open_client

if TYPE_CHECKING:
    from edgeroot.client import Client

_PYTHON_MIN: Final = (3, 11)
_WIRE_PROTOCOL: Final = (1, 0)
_SERVICE_START: Final = "Start the service: edgeroot up, or systemctl start parsec."


def checks(subject: Subject) -> Iterator[Finding]:
    """The findings, from the outside in; where one fails, what depends on it is left out."""
    yield from _installation()
    reachable = yield from _endpoint(subject)
    if not reachable:
        return
    from edgeroot.client.errors import ClientError

    try:
        with open_client(subject.settings) as client:
            yield from _service(client, make_keys=subject.make_keys)
    except ClientError as error:
        yield Finding("failure", "service", str(error), "Look at the service's log and at `edgeroot doctor -c FILE`.")


def _installation() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _PYTHON_MIN:
        yield Finding("ok", "python", f"Python {python}")
    else:
        yield Finding("failure", "python", f"Python {python} is too old", "Install Python 3.11 or newer.")
    found, missing = [], []
    for package in ("edgeroot", "cryptography", "protobuf", "click", "rich"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if found:
        yield Finding("ok", "packages", ", ".join(found))
    if missing:
        fix = "Reinstall edgeroot with pip, so that what it needs is installed too."
        yield Finding("warning", "packages", f"not installed as packages: {', '.join(missing)}", fix)


def _endpoint(subject: Subject) -> Generator[Finding, None, bool]:
    """The generator's value is whether it is worth trying to connect."""
    from edgeroot.client.endpoint import ENDPOINT_VARIABLE, socket_path
    from edgeroot.client.errors import EndpointError

    set_by = "--endpoint" if subject.settings.endpoint else ENDPOINT_VARIABLE
    given = subject.settings.endpoint or os.environ.get(ENDPOINT_VARIABLE)
    try:
        path = Path(socket_path(subject.settings.endpoint))
    except EndpointError as error:
        yield Finding("failure", "endpoint", str(error), f"Correct {set_by}, such as unix:/run/parsec/parsec.sock.")
        return False
    source = f"from {set_by}" if given else f"the default, for {ENDPOINT_VARIABLE} is not set"
    try:
        status = path.stat()
    except FileNotFoundError:
        fix = _SERVICE_START if given else f"Set {ENDPOINT_VARIABLE} to where the service listens. {_SERVICE_START}"
        yield Finding("failure", "endpoint", f"{path} does not exist ({source})", fix)
        return False
    except OSError as error:
        fix = f"Let {_who()} into its folder: see the modes of {path.parent} and of the folders above it."
        yield Finding("failure", "endpoint", f"{path} cannot be looked at: {error.strerror}", fix)
        return False
    if not stat.S_ISSOCK(status.st_mode):
        yield Finding("failure", "endpoint", f"{path} is not a socket", f"Correct {set_by}.")
        return False
    if not os.access(path, os.W_OK):
        fix = f"Add {_who()} to the group of {path}, or open its mode in the service's configuration."
        yield Finding("failure", "endpoint", f"{_who()} may not connect to {path}", fix)
        return False
    yield Finding("ok", "endpoint", f"{path} ({source})")
    yield from _socket_folder(path)
    return True


def _socket_folder(path: Path) -> Iterator[Finding]:
    """Whoever may write the folder can put a socket of their own in the service's place."""
    status = path.parent.stat()
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        fix = f"Close it: chmod o-w {path.parent}; better, let the service listen in a folder of its own."
        yield Finding("failure", "endpoint", f"every user may replace the socket, for {path.parent} is open", fix)
    elif status.st_mode & stat.S_IWOTH:
        fix = "Listen in a folder of the service's own, such as /run/parsec with mode 0755."
        yield Finding("warning", "endpoint", f"every user may put a socket into {path.parent} while none is there", fix)


def _service(client: Client, *, make_keys: bool) -> Iterator[Finding]:
    from edgeroot.client.commands.upstream_names import authenticator_name, provider_name
    from edgeroot.client.errors import NoProviderError
    from edgeroot.wire.operations import ProviderId

    version = client.ping()
    spoken = ".".join(map(str, version))
    if version == _WIRE_PROTOCOL:
        yield Finding("ok", "service", f"it answers, with wire protocol {spoken}")
    else:
        yield Finding("failure", "service", f"it speaks wire protocol {spoken}", "Install a version that speaks 1.0.")
        return
    authenticators = [authenticator_name(info.id) for info in client.list_authenticators()]
    yield Finding("ok", "authenticators", ", ".join(authenticators) or "none")
    providers = [info for info in client.list_providers() if info.id != ProviderId.CORE]
    for info in providers:
        label = f"{info.id:#04x} {info.name or provider_name(info.id)}"
        yield Finding("ok", "providers", f"{label}: {len(client.list_opcodes(info.id))} operations")
    try:
        provider = client.provider_id()
    except NoProviderError as error:
        yield Finding("failure", "providers", str(error), "Add a [[provider]] to the service's configuration.")
        return
    keys = client.list_keys()
    yield Finding("ok", "identity", f"{_who()} is accepted, and has {len(keys)} keys")
    if make_keys:
        yield from _round_trip(client, provider)


def _round_trip(client: Client, provider: int) -> Iterator[Finding]:
    from edgeroot.client import templates
    from edgeroot.client.errors import ClientError
    from edgeroot.wire.opcodes import Opcode

    needed = (Opcode.PSA_GENERATE_KEY, Opcode.PSA_SIGN_HASH, Opcode.PSA_VERIFY_HASH, Opcode.PSA_DESTROY_KEY)
    lacking = [opcode.display_name for opcode in needed if opcode not in client.list_opcodes(provider)]
    if lacking:
        yield Finding("note", "keys", f"not tried, for provider {provider} lacks {', '.join(lacking)}")
        return
    name, attributes, digest = f"edgeroot-doctor-{os.urandom(8).hex()}", templates.ecdsa_p256(), bytes(range(32))
    step = "made"
    try:
        client.generate_key(name, attributes)
        try:
            step = "used to sign"
            signature = client.sign_hash(name, attributes.algorithm, digest)
            step = "used to verify"
            client.verify_hash(name, attributes.algorithm, digest, signature)
        finally:
            client.destroy_key(name)
    except ClientError as error:
        fix = f"Look at the service's log. If {name} is left over: edgeroot delete-key -k {name}"
        yield Finding("failure", "keys", f"a throw-away key could not be {step}: {error}", fix)
    else:
        yield Finding("ok", "keys", "a P-256 key was made, signed, verified and was destroyed")


def _who() -> str:
    import pwd

    uid = os.geteuid()
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
