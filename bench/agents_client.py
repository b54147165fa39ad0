"""``python -m bench.agents_client``: nodes' agents that come back within a minute, and one JSON object about each.

They are the genuine ones, with their exchanges, their patience and their schedule; only the node's service is played,
by a device that signs for the challenge. What becomes of them is read from what they say. There is no API server to
report to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import time
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from bench.fleet import device_key, device_token
from edgeroot.client import AsyncClient
from edgeroot.edge.agent.run import Agent, Settings

_AGENT: Final = "edgeroot.edge.agent.run"
_RESULT: Final = "the verifier says: "
_FAILURE: Final = "no result: "
_PROVIDER: Final = 4


@dataclass(slots=True)
class Node:
    """One agent's story; times count from the beginning of the return. ``results``: when, and what was said."""

    number: int
    returned_s: float
    attempts_s: list[float] = field(default_factory=list)
    results: list[tuple[float, str]] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)


_current: ContextVar[Node] = ContextVar("node")


class _Story(logging.Handler):
    """Takes down what the agent in whose task a line is written says."""

    def __init__(self, began_s: float) -> None:
        super().__init__()
        self._began_s = began_s

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        node = _current.get()
        if said.startswith(_RESULT):
            status = said.removeprefix(_RESULT).partition(";")[0]
            node.results.append((time.monotonic() - self._began_s, status))
        elif said.startswith(_FAILURE):
            words = said.removeprefix(_FAILURE).rpartition("; again in")[0]
            node.failures[words] = node.failures.get(words, 0) + 1


@dataclass(frozen=True, slots=True)
class _Provider:
    id: int = _PROVIDER
    name: str = "trusted-service-provider"
    description: str = ""


class _Service:
    """A node's service, as far as an agent asks it."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    async def list_providers(self) -> list[_Provider]:
        return [_Provider()]

    def with_provider(self, _provider: int) -> Self:
        return self

    async def attestation_token(self, nonce: bytes) -> bytes:
        return device_token(self._number, nonce)


async def _live(node: Node, url: str, ca_path: Path, began_s: float, stop: asyncio.Event) -> None:
    _current.set(node)

    def service() -> AsyncClient:
        """Asked for at the beginning of each attempt."""
        node.attempts_s.append(time.monotonic() - began_s)
        return cast(AsyncClient, _Service(node.number))

    agent = Agent(Settings(verifier=url, service=service, ca_path=ca_path, node_name=f"node-{node.number}"))
    await asyncio.sleep(began_s + node.returned_s - time.monotonic())
    await agent.run(stop)


async def play(url: str, ca_path: Path, *, agents: int, within_s: float, seconds: float) -> list[Node]:
    """All come back within so many seconds at moments that chance chooses, and are watched until the end."""
    for number in range(agents):
        device_key(number)
    nodes = [Node(number, random.uniform(0, within_s)) for number in range(agents)]
    began_s, stop = time.monotonic(), asyncio.Event()
    logger = logging.getLogger(_AGENT)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_Story(began_s))
    print("they return", flush=True)
    tasks = [asyncio.create_task(_live(node, url, ca_path, began_s, stop)) for node in nodes]
    await asyncio.sleep(began_s + seconds - time.monotonic())
    stop.set()  # what is under way is ended in order
    await asyncio.gather(*tasks)
    return nodes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.agents_client")
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca-path", type=Path, required=True)
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--within-s", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    json.dump([asdict(node) for node in asyncio.run(play(**vars(parser.parse_args())))], sys.stdout)


if __name__ == "__main__":
    main()
