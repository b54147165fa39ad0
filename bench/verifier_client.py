"""``python -m bench.verifier_client``: devices that have a verifier judge them, and one JSON object about how it went.

An iteration is a challenge (newSession), a token for it, and its result. With a rate the loop is open: iteration number
k is due at k / rate, whatever became of those before, and its latency counts from then. Without one each connection
begins an iteration as soon as its last one is done.

The loop's timers are as coarse as epoll's, a millisecond; what they are late counts as latency.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import sys
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, NamedTuple

from bench.fleet import device_key, device_token

TIMEOUT_S: Final = 30.0
_NEW: Final = (
    b"POST /challenge-response/v1/newSession?nonceSize=32 HTTP/1.1\r\nHost: verifier\r\nContent-Length: 0\r\n\r\n"
)
_SUBMIT: Final = (
    b"POST /challenge-response/v1/%s HTTP/1.1\r\nHost: verifier\r\n"
    b"Content-Type: application/psa-attestation-token\r\nContent-Length: %d\r\n\r\n%s"
)
_AFFIRMING: Final = b'"affirming"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Latencies are of whole iterations, in microseconds; ``cpu_s`` and ``making_s`` are this process's.

    ``making_s``: processor time for tokens, within ``cpu_s``.
    """

    ok: int
    rate: float  # good iterations done a second
    p50_us: float
    p99_us: float
    max_us: float
    seconds: float
    cpu_s: float
    making_s: float
    errors: dict[str, int]


class AnswerError(Exception):
    """The verifier's answer is not the one that a good device gets."""


@dataclass(slots=True)
class _Connection:
    """A kept connection, opened anew after an error or its end."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None

    async def ask(self, request: bytes, expected: int) -> tuple[bytes, dict[str, object]]:
        """The answer's location, if it has one, and its JSON. AnswerError, OSError, EOFError."""
        if self.reader is None or self.reader.at_eof():  # the verifier closes what was idle for long
            self.close()
            await self.open()
        assert self.reader is not None
        assert self.writer is not None
        self.writer.write(request)
        head = read_head(await self.reader.readuntil(b"\r\n\r\n"))
        body = await self.reader.readexactly(head.length)
        if head.status != expected:
            raise AnswerError(f"status {head.status}")
        return head.location, json.loads(body)


class Head(NamedTuple):
    """What is needed of an answer's head."""

    status: int
    length: int
    location: bytes


def read_head(head: bytes) -> Head:
    """Of an HTTP/1.1 answer; AnswerError if it does not say how long its body is."""
    line, *fields = head.split(b"\r\n")
    found = {}
    for one in fields:
        name, _, value = one.partition(b":")
        found[name.lower()] = value.strip()
    if b"content-length" not in found:
        raise AnswerError("an answer without a length")
    return Head(int(line.split(b" ", 2)[1]), int(found[b"content-length"]), found.get(b"location", b""))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that this share of them does not exceed; 0 if there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


@dataclass(slots=True)
class _Run:
    """One run. Latencies count of iterations that begin, or with a rate are due, between ``counts_s`` and ``ends_s``.

    ``finished``: how many were done between them, whenever they began.
    """

    devices: int
    rate: float
    began_s: float
    counts_s: float
    ends_s: float
    number: int = 0
    finished: int = 0
    making_s: float = 0.0
    latencies_us: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    async def work(self, connection: _Connection) -> None:
        while True:
            number = self.number
            self.number += 1
            due_s = self.began_s + number / self.rate if self.rate else time.perf_counter()
            if due_s >= self.ends_s:
                return
            if (ahead_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(ahead_s)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._iterate(connection, number % self.devices)
            except (AnswerError, OSError, EOFError, ValueError, KeyError, TimeoutError) as error:
                self.errors[str(error) if isinstance(error, AnswerError) else type(error).__name__] += 1
                connection.close()
                continue
            done_s = time.perf_counter()
            self.finished += self.counts_s <= done_s < self.ends_s
            if due_s >= self.counts_s:
                self.latencies_us.append((done_s - due_s) * 1e6)

    async def _iterate(self, connection: _Connection, device: int) -> None:
        location, session = await connection.ask(_NEW, 201)
        before_s = time.process_time()
        token = device_token(device, urlsafe_b64decode(str(session["nonce"]) + "="))
        self.making_s += time.process_time() - before_s
        _, done = await connection.ask(_SUBMIT % (location, len(token), token), 200)
        claims = str(done["result"]).partition(".")[2].partition(".")[0]
        if _AFFIRMING not in urlsafe_b64decode(claims + "=" * (-len(claims) % 4)):
            raise AnswerError("a result that is not affirming")


async def drive(port: int, *, devices: int, connections: int, rate: float, seconds: float, warm_up_s: float) -> Report:
    """All connections are open before anything is measured; ``rate`` 0: as fast as it goes."""
    opened = [_Connection(port) for _ in range(connections)]
    for connection in opened:
        await connection.open()
    for number in range(devices):
        device_key(number)
    gc.collect()
    gc.freeze()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    run = _Run(devices, rate, began_s, began_s + warm_up_s, began_s + warm_up_s + seconds)
    await asyncio.gather(*(run.work(connection) for connection in opened))
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    for connection in opened:
        connection.close()
    ordered = sorted(run.latencies_us)
    return Report(
        ok=len(ordered),
        rate=run.finished / seconds,
        p50_us=percentile(ordered, 0.5),
        p99_us=percentile(ordered, 0.99),
        max_us=percentile(ordered, 1),
        seconds=took_s,
        cpu_s=cpu_s,
        making_s=run.making_s,
        errors=dict(run.errors),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.verifier_client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--devices", type=int, required=True, help="how many there are, from number 0")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="iterations a second; 0: a closed loop")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up-s", type=float, default=0.0)
    json.dump(asdict(asyncio.run(drive(**vars(parser.parse_args())))), sys.stdout)


if __name__ == "__main__":
    main()
