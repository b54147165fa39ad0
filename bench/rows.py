"""What is measured: one row for each promise, with the load, the reference and the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from bench import agents_return, edge_controller, hardware, tls, tokens, trust, verifier_load, world
from bench.generator import Load
from bench.measure import (
    Bench,
    Outcome,
    against_upstream,
    beside_idle_connections,
    beside_key_generation,
    idle_cpu,
    kept_connections,
    lone_latency,
    memory,
    random_key,
    same_key,
    start_up,
)

Need = Literal["edgeroot", "upstream", "root"]
_OURS: Final = frozenset[Need]({"edgeroot"})
_BOTH: Final = frozenset[Need]({"edgeroot", "upstream"})
_WORLD: Final = frozenset[Need]({"edgeroot", "upstream", "root"})
_USERS: Final = frozenset[Need]({"edgeroot", "root"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``at_least``: the ratio must not be below the target; otherwise not above it.

    ``by_name``: it takes minutes, and is measured only where it is asked for.
    """

    key: str
    title: str
    unit: str
    target: float
    at_least: bool
    needs: frozenset[Need]
    measure: Callable[[Bench], Outcome]
    by_name: bool = False

    def passes(self, outcome: Outcome) -> bool | None:
        """Whether the promise is kept; None if it could not be measured."""
        if outcome.faults:
            return False
        if outcome.ratio is None:
            return None
        return outcome.ratio >= self.target if self.at_least else outcome.ratio <= self.target


def _faster(key: str, title: str, target: float, load: Load) -> Row:
    return Row(key, title, "/s", target, True, _BOTH, partial(against_upstream, load=load))


def _idle(load: Load) -> Callable[[Bench], Outcome]:
    return partial(beside_idle_connections, load=load)


_PING: Final = Load("ping")
_SIGN: Final = Load("sign")

ROWS: Final = (
    _faster("ping-8", "ping, 8 clients", 1.5, _PING),
    _faster("ping-64", "ping, 64 clients", 1.3, replace(_PING, clients=64)),
    Row("lone", "lone client, p50 against upstream's default", "µs", 50, True, _BOTH, lone_latency),
    Row("idle-cpu", "processor time while idle (not spinning)", "% of a core", 1, False, _OURS, idle_cpu),
    _faster("sign", "sign hash, P-256, 8 clients", 5, _SIGN),
    _faster("verify", "verify hash, P-256, 8 clients", 12, Load("verify")),
    _faster("rsa-sign", "sign hash, RSA-2048, 8 clients", 14, Load("rsasign")),
    _faster("keygen", "create and destroy a P-256 key, 8 clients", 8, Load("keygen")),
    Row("kept-ping", "ping, kept connections", "/s", 2, True, _OURS, partial(kept_connections, load=_PING)),
    Row("kept-sign", "sign P-256, kept connections", "/s", 1.4, True, _OURS, partial(kept_connections, load=_SIGN)),
    Row("start", "start to first ping, many keys against none", "ms", 1.2, False, _OURS, start_up),
    Row("same-key", "cost of signing with one key, many keys against 10", "µs", 1.1, False, _OURS, same_key),
    Row("random-key", "signing with a random one of many keys", "/s", 0.5, True, _OURS, random_key),
    Row("idle-ping", "p99 of ping beside idle and dribbling connections", "µs", 3, False, _USERS, _idle(_PING)),
    Row("idle-sign", "p99 of sign beside idle and dribbling connections", "µs", 3, False, _USERS, _idle(_SIGN)),
    Row("rsa-gen", "p99 of sign while another user generates RSA-4096", "µs", 3, False, _USERS, beside_key_generation),
    Row(
        "world-sign",
        "sign P-256 in the secure world, against software keys",
        "/s",
        0.6,
        True,
        _USERS,
        world.signing_against_software,
    ),
    Row("world-upstream", "sign P-256 in the secure world", "/s", 3, True, _WORLD, world.signing_against_upstream),
    Row("world-crossing", "a crossing's share of a lone client's signature", "µs", 1, False, _USERS, world.crossing),
    Row("world-storage", "durable set and get of 64 bytes", "µs", 1, False, _USERS, world.storage),
    Row("world-start", "start of the secure world to its first answer", "ms", 1, False, _USERS, world.start),
    Row(
        "world-rsa-gen",
        "p99 of sign there while another source makes RSA-4096",
        "µs",
        3,
        False,
        _USERS,
        world.beside_key_generation,
    ),
    Row("tpm-sign", "sign P-256 in a TPM", "/s", 6, True, _WORLD, partial(hardware.in_tpm, op="sign")),
    Row("tpm-rsa", "sign RSA-2048 in a TPM", "/s", 3, True, _WORLD, partial(hardware.in_tpm, op="rsasign")),
    Row("token-sign", "sign P-256 in a PKCS#11 token", "/s", 3, True, _WORLD, partial(hardware.in_token, op="sign")),
    Row(
        "token-keygen", "create and destroy a key there", "/s", 2, True, _WORLD, partial(hardware.in_token, op="keygen")
    ),
    Row(
        "slow-tpm",
        "sign with software keys beside 64 requests for a slow TPM",
        "/s",
        0.9,
        True,
        _USERS,
        hardware.beside_slow_tpm,
    ),
    Row("token-auth", "what a known token adds to a lone client's signature", "µs", 1, False, _USERS, tokens.overhead),
    Row("token", "attestation token of a verified secure world, p50", "ms", 1, False, _USERS, trust.token),
    Row("appraise", "judging a token, against its signature alone", "µs", 6, False, _USERS, trust.appraisal),
    Row("verifier-load", "p99 of a verifier of many devices, half loaded", "ms", 20, False, _OURS, verifier_load.load),
    Row(
        "edge-controller",
        "p99 from a result to the node's label, 5,000 nodes",
        "ms",
        1,
        False,
        _OURS,
        edge_controller.measure,
    ),
    Row(
        "agents-return",
        "until all of 5,000 agents that return in a minute are judged",
        "s",
        1,
        False,
        _OURS,
        agents_return.measure,
        by_name=True,
    ),
    Row("tls", "TLS handshakes of nginx, its key in the service", "/s", 0.5, True, _USERS, tls.handshakes),
    Row("verified-start", "what verified images add to a start", "ms", 1, False, _USERS, trust.verified_start),
    Row("memory", "resident memory of a worker, idle", "MB", 1, False, _OURS, memory),
)
