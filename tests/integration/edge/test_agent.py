"""The node's agent as a process: real verifier, real service over a real emulated secure world.

The API server is a test double that takes the one write; a real one is asked in tests/integration/cluster.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from edgeroot.client import Client
from edgeroot.edge.agent.exchange import ExchangeError, verifier_session
from edgeroot.edge.agent.schedule import Failure
from edgeroot.edge.agent.state import State, read_state, steady_now_s
from edgeroot.edge.agent.verdict import read_verdict
from tests.integration.service.test_tpm_evidence import extend
from tests.integration.test_tpm_verified import BOOT, Verifier, enrolled, log_of
from tests.integration.test_verifier_service import Fleet, submit
from tests.support.killing import killed
from tests.support.service import SOFTWARE_PROVIDER, Service, running_service
from tests.support.swtpm import running_swtpm, with_tpm
from tests.support.world import World, running_world, with_world

WAIT_S: Final = 30.0
NODE: Final = "edge-7"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with running_service(provider=SOFTWARE_PROVIDER + with_world(world)) as one:
        yield one


@pytest.fixture
def fleet(tmp_path: Path, world: World, service: Service) -> Fleet:
    """With a CoRIM of what the device runs, which no verifier has yet."""
    one = Fleet(tmp_path, world)
    challenge = os.urandom(32)
    (tmp_path / "device.pem").write_text(one.run("secure-world", "attestation-key"))
    with service.client(provider=4) as client:
        (tmp_path / "setup.cbor").write_bytes(client.attestation_token(challenge))
    endorse = ("verifier", "endorse", "setup.cbor", "--challenge", challenge.hex(), "--key", "device.pem")
    one.run(*endorse, "-o", "device.corim")
    return one


def wait_for(what: Callable[[], object], words: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline_s, words
        time.sleep(0.05)


@dataclass
class Running:
    """An agent; ``state`` is its folder."""

    process: subprocess.Popen[bytes]
    state: Path
    log: Path

    def last(self) -> State:
        return read_state(self.state)

    def wait_for(self, what: Callable[[State], object], words: str) -> State:
        wait_for(lambda: self.process.poll() is not None or what(self.last()), f"{words}:\n{self.log.read_text()}")
        assert self.process.poll() is None, self.log.read_text()
        return self.last()

    def check(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeroot", "edge", "agent", "--check", "--state", str(self.state)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def agent(fleet: Fleet, url: str, service: Service, *more: str, state: Path | None = None) -> Iterator[Running]:
    folder = state or fleet.folder / "agent"
    options = ("--verifier", url, "--ca-file", "certificate.pem", "--interval", "1", "--state", str(folder), *more)
    environment = {**fleet.environment, "PARSEC_SERVICE_ENDPOINT": service.endpoint}
    log = fleet.folder / "agent.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeroot", "edge", "agent", *options],
            cwd=fleet.folder,
            env=environment,
            stderr=output,
        )
        running = Running(process, folder, log)
        try:
            yield running
        finally:
            process.terminate()
            code = process.wait(10)
        assert code == 0, log.read_text()


def test_a_node_is_affirmed_through_outages(fleet: Fleet, service: Service) -> None:
    with fleet.serving() as (url, server):
        port = str(urlsplit(url).port)
        with agent(fleet, url, service) as node:
            found = node.wait_for(lambda state: state.status, "there is no result")
            assert found.status == "contraindicated"
            assert "no endorsement knows device" in found.reason
            refused = node.check()
            assert (refused.returncode, "no endorsement knows" in refused.stderr) == (1, True)
            submit(fleet, url)
            found = node.wait_for(lambda state: state.status == "affirming", "an endorsement changes nothing")
            assert node.check().stdout == "affirming\n"
            assert found.expires_at_s is not None
            assert found.expires_at_s - found.judged_at_s == 7 * 60
            server.send_signal(signal.SIGKILL)
            server.wait(WAIT_S)
            found = node.wait_for(lambda state: state.failure, "nobody misses the verifier")
            assert found.status == "affirming"
            assert node.check().returncode == 0, "a result counts until it expires"
            with fleet.serving("--port", port):
                node.wait_for(
                    lambda state: not state.failure and state.judged_at_s > found.judged_at_s, "it does not come back"
                )
            log = node.log.read_text()
    assert "the verifier says: affirming; next time in" in log
    assert "no result: the verifier: ConnectError" in log


def test_an_agent_that_is_killed_again_and_again_is_affirmed_again(fleet: Fleet, service: Service) -> None:
    """Whoever looks at its state in between sees a whole one."""
    state = fleet.folder / "agent"
    with fleet.serving() as (url, _server):
        submit(fleet, url)
        options = ("--verifier", url, "--ca-file", "certificate.pem", "--interval", "1", "--state", str(state))
        environment = {**fleet.environment, "PARSEC_SERVICE_ENDPOINT": service.endpoint}
        with killed(
            "edge", "agent", *options, environment=environment, folder=fleet.folder, lives_s=(0.8, 2.5)
        ) as agents:
            affirmed = 0
            while agents.kills < 10:
                affirmed += read_state(state).problem(time.time(), steady_now_s()) is None
            assert affirmed
            agents.spare()
            spared_s = time.time()
            wait_for(lambda: read_state(state).judged_at_s > spared_s, "it is judged no more")
            assert read_state(state).problem(time.time(), steady_now_s()) is None
        bearer = f"Bearer {(fleet.folder / 'look').read_text().strip()}"
        devices = fleet.ask(url, "GET", "/fleet/v1/devices", authorization=bearer)[2]["devices"]
    assert [one["status"] for one in devices] == ["affirming"]


def test_a_service_that_restarts_is_missed_and_found_again(fleet: Fleet, world: World) -> None:
    with running_service(provider=SOFTWARE_PROVIDER + with_world(world)) as own, fleet.serving() as (url, _server):
        submit(fleet, url)
        with agent(fleet, url, own) as node:
            found = node.wait_for(lambda state: state.status == "affirming", "it is not affirmed")
            own.stop()
            failing = node.wait_for(lambda state: state.failure, "nobody misses the service")
            assert "the service: " in failing.failure
            own.start()
            node.wait_for(lambda state: not state.failure and state.judged_at_s > found.judged_at_s, "it stays lost")


def test_an_agents_whole_state_on_another_machine_affirms_nobody(fleet: Fleet, service: Service) -> None:
    with fleet.serving() as (url, _server):
        submit(fleet, url)
        with agent(fleet, url, service) as node:
            node.wait_for(lambda state: state.status == "affirming", "it is not affirmed")
        copy = fleet.folder / "copied"
        shutil.copytree(node.state, copy)
        with (
            running_world() as elsewhere,
            running_service(provider=with_world(elsewhere)) as other,
            agent(fleet, url, other, state=copy) as thief,
        ):
            found = thief.wait_for(lambda state: state.status not in {"", "affirming"}, "the copy is affirmed")
            assert "no endorsement knows device" in found.reason
            assert thief.check().returncode == 1


def test_an_old_answer_for_a_new_challenge_is_refused(fleet: Fleet, service: Service) -> None:
    async def asked(url: str, client: Client) -> None:
        async with verifier_session(url, fleet.folder / "certificate.pem") as session:
            challenge = await session.challenge()
            evidence = client.attestation_token(challenge.nonce)
            assert read_verdict(await session.submit(challenge, evidence)).is_affirming
            with pytest.raises(ExchangeError, match="409") as again:
                await session.submit(challenge, evidence)
            assert again.value.failure is Failure.REFUSED
            replayed = read_verdict(await session.submit(await session.challenge(), evidence))
            assert replayed.status == "contraindicated"
            assert replayed.reason == "it answers another challenge: it is old, or another's"

    with fleet.serving() as (url, _server), service.client(provider=4) as client:
        submit(fleet, url)
        asyncio.run(asked(url, client))


def test_a_verifier_that_cannot_prove_who_it_is_gets_no_evidence(fleet: Fleet, service: Service) -> None:
    (fleet.folder / "other").mkdir()
    Fleet(fleet.folder / "other", World(fleet.folder))
    with fleet.serving() as (url, _server), agent(fleet, url, service, "--ca-file", "other/certificate.pem") as node:
        found = node.wait_for(lambda state: state.failure, "it believes anybody")
    assert "certificate verify failed" in found.failure
    assert not found.status


def test_a_tpm_quotes_with_the_boots_log(tmp_path: Path, world: World) -> None:
    (tmp_path / "verifier").mkdir()
    (tmp_path / "agent").mkdir()
    fleet, verifier = Fleet(tmp_path / "agent", world), Verifier(tmp_path / "verifier")
    (fleet.folder / "log").write_bytes(log_of())
    with running_swtpm(tmp_path / "tpm") as swtpm:
        for index, digest in BOOT:
            extend(swtpm, index, digest)
        with running_service(provider=SOFTWARE_PROVIDER + with_tpm(swtpm)) as service, verifier.serving():
            with service.client(provider=3) as client:
                verifier.enrolled = enrolled(client)
                verifier.endorse(client)
            with agent(fleet, verifier.url, service, "--event-log", "log") as node:
                first = node.wait_for(lambda state: state.status, "there is no result")
                assert (first.status, first.reason) == ("affirming", "")
                (fleet.folder / "log").unlink()
                found = node.wait_for(lambda state: state.failure, "nobody misses the log")
                assert found.failure.startswith("the event log: ")
                (fleet.folder / "log").write_bytes(log_of(BOOT[:3]))
                found = node.wait_for(lambda state: state.status == "contraindicated", "a changed log changes nothing")
                assert "the event log does not give PCR 4 its value" in found.reason


@dataclass
class ApiServer:
    """Takes server-side applies of EdgeNodes' status, if it is there."""

    status: int = 200
    taken: list[tuple[str, dict[str, list[str]], dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    def kubeconfig(self, path: Path) -> Path:
        cluster = {"name": "c", "cluster": {"server": self.url}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        user = {"name": "u", "user": {"token": "secret"}}
        config = {"apiVersion": "v1", "clusters": [cluster], "users": [user], "contexts": [context]}
        path.write_text(json.dumps({**config, "current-context": "x"}))
        return path


@contextmanager
def api_server(status: int = 200) -> Iterator[ApiServer]:
    api = ApiServer(status)

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            place = urlsplit(self.path)
            said = self.rfile.read(int(self.headers["content-length"]))
            body: dict[str, Any] = json.loads(said)
            api.taken.append((f"{place.path} {self.headers['content-type']}", parse_qs(place.query), body))
            answer = body if api.status == 200 else {"kind": "Status", "code": api.status, "message": "no"}
            data = json.dumps(answer).encode()
            self.send_response(api.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


def test_the_inventory_is_reported_once(fleet: Fleet, service: Service) -> None:
    with fleet.serving() as (url, _server), api_server() as api:
        fleet.environment["KUBECONFIG"] = str(api.kubeconfig(fleet.folder / "kubeconfig"))
        with agent(fleet, url, service, "--node-name", NODE) as node:
            first = node.wait_for(lambda state: state.status, "there is no result")
            node.wait_for(lambda state: api.taken and state.judged_at_s > first.judged_at_s, "nothing is reported")
    (place, query, document) = api.taken[0]
    assert len(api.taken) == 1, "nothing has changed"
    assert place == f"/apis/edgeroot.dev/v1alpha1/edgenodes/{NODE}/status application/apply-patch+yaml"
    assert query == {"fieldManager": ["edgeroot-agent"], "force": ["true"]}
    assert document["metadata"] == {"name": NODE}
    assert document["status"].keys() == {"inventory"}
    assert document["status"]["inventory"]["providers"] == ["mbed-crypto-provider", "trusted-service-provider"]


@pytest.mark.parametrize("status", [404, 403, 500, 0])
def test_without_the_api_server_it_attests_all_the_same(fleet: Fleet, service: Service, status: int) -> None:
    with fleet.serving() as (url, _server), api_server(status) as api:
        submit(fleet, url)
        if not status:
            api.url = "http://127.0.0.1:9"
        fleet.environment["KUBECONFIG"] = str(api.kubeconfig(fleet.folder / "kubeconfig"))
        with agent(fleet, url, service, "--node-name", NODE) as node:
            first = node.wait_for(lambda state: state.status == "affirming", "it is not affirmed")
            node.wait_for(lambda state: state.judged_at_s > first.judged_at_s, "once and never again")
    log = node.log.read_text()
    assert log.count("the inventory is not reported") == 1, "a failure is not tried again at once"
    assert "secret" not in log
