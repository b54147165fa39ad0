"""From a configuration to the parts of a running service: stores, providers, and what each child process runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import entry_points
from importlib.util import find_spec
from itertools import cycle
from mmap import mmap
from pathlib import Path
from time import monotonic, monotonic_ns, perf_counter_ns, time
from typing import Final

from edgeroot.auth import AUTHENTICATORS, Authenticator, TokenSettings
from edgeroot.daemon.audit import AuditLog
from edgeroot.daemon.config import KeyManagerConfig, ListenerConfig, ServiceConfig
from edgeroot.daemon.connection import Listening
from edgeroot.daemon.control import ControlLine
from edgeroot.daemon.elsewhere import WriterLink
from edgeroot.daemon.helper_process import NICE, run_helper, serve_jobs
from edgeroot.daemon.identity_program import Task, become_identity_program
from edgeroot.daemon.log_output import standard_error
from edgeroot.daemon.metrics import CounterTable
from edgeroot.daemon.observer import MeteredObserver, RequestObserver
from edgeroot.daemon.rates import RateTable
from edgeroot.daemon.shared import UserTable, WorkerLoads
from edgeroot.daemon.sockets import Listener
from edgeroot.daemon.users import Users
from edgeroot.daemon.worker import Worker
from edgeroot.daemon.writer_process import run_writer
from edgeroot.keystore.database import create_store, store_path_for
from edgeroot.keystore.generation import Generations
from edgeroot.keystore.lease import Lease, dead_holders, discard, leases_directory_for
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import StoredKey
from edgeroot.keystore.recovery import claim_of, end_of, orphans
from edgeroot.keystore.upstream import refuse_unadopted
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import Claim, Outcome, Result, SetProviderState, Write
from edgeroot.providers.api import BackEndAbsentError, Function, ProviderType
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.service.call import Door
from edgeroot.service.core import CoreProvider
from edgeroot.service.creation import KeyFactory
from edgeroot.service.inspection import Inspection
from edgeroot.service.jobs import Executor
from edgeroot.service.keys import KeyCache
from edgeroot.service.mounted import MountedProvider
from edgeroot.service.pipeline import Pipeline, Rules
from edgeroot.service.quotas import Quotas
from edgeroot.service.recovery import Recovery
from edgeroot.service.tokens import TokenAuthenticator

_log: Final = logging.getLogger(__name__)
_WORD_BYTES: Final = 8
_TOKENS_TAKE: Final = ("grpc", "jwt", "spiffe")
PROVIDER_GROUP: Final = "edgeroot.providers"


class StartError(Exception):
    """The service cannot start as configured; the message says why and what to do."""


def provider_types() -> dict[str, ProviderType]:
    """The installed provider types, by the name that ``provider_type`` has in the configuration."""
    found = {}
    for entry in entry_points(group=PROVIDER_GROUP):
        provider_type = entry.load()()
        found[provider_type.provider_type] = provider_type
    return found


def can_judge_tokens() -> bool:
    """Whether what that takes is installed; nothing of it is imported here."""
    return all(map(find_spec, _TOKENS_TAKE))


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that the processes of one configuration have in common."""

    config: ServiceConfig
    stores: tuple[Path, ...]
    providers: tuple[MountedProvider, ...]
    users: UserTable
    loads: WorkerLoads
    counters: CounterTable | None  # None: metrics are off
    rates: RateTable | None  # None: there are no quotas
    missing: memoryview  # by provider: what its back end has lost, as the scout says

    @property
    def hosted(self) -> tuple[int, ...]:
        """The indexes of the providers that live in host processes."""
        return tuple(one.index for one in self.providers if one.remote)

    @property
    def inspected(self) -> tuple[MountedProvider, ...]:
        """Those whose back ends keep the keys, and can be asked by several processes."""
        return tuple(one for one in self.providers if one.provider.keeps_keys and not one.remote)

    def missing_keys(self) -> dict[str, int]:
        """How many keys and objects each inspected provider has lost."""
        return {one.name: self.missing[one.index] for one in self.inspected}


StoreWriter = Callable[[Path, Sequence[Write]], list[Outcome]]
"""Carries out writes on a store, through its writer if it has one. KeyStoreError."""


def assemble(config: ServiceConfig, types: Mapping[str, ProviderType], write: StoreWriter) -> Service:
    """Open stores and providers, and clean up what dead processes left half done. StartError, KeyStoreError.

    Leaves no connection to a store open, so that the processes forked afterwards each make their own.
    """
    if config.tokens is not None and not can_judge_tokens():
        raise StartError("JwtSvid needs what is not installed: pip install 'edgeroot[k8s]'")
    _make_place_for_keys(config.tokens)
    managers = {config.key_manager(provider).name: config.key_manager(provider) for provider in config.providers}
    stores = tuple(_prepare_store(manager) for manager in managers.values())
    store_of = {name: index for index, name in enumerate(managers)}
    mounted = []
    for index, provider in enumerate(config.providers):
        store = store_of[provider.key_info_manager]
        back_end = types[provider.provider_type].open(provider.settings, store_path=stores[store])
        mounted.append(
            MountedProvider(
                index=index,
                wire_id=provider.wire_id,
                name=provider.name,
                store=store,
                provider=back_end,
                remote=back_end.needs_host,
            )
        )
    mounted = [replace(one, index=index) for index, one in enumerate(_started(mounted, stores, write))]
    if not mounted:
        raise StartError("no provider is left to start with")
    for index, path in enumerate(stores):
        here = [one for one in mounted if one.store == index]
        _recover(path, {name: one for one in here for name in (one.name, one.objects_name)}, write)
    workers = config.core.thread_pool_size
    counters = None if config.metrics is None else CounterTable(workers)
    rates = RateTable(monotonic_ns) if config.quotas else None
    missing = memoryview(mmap(-1, _WORD_BYTES * len(mounted))).cast("Q")
    return Service(config, stores, tuple(mounted), UserTable(workers), WorkerLoads(workers), counters, rates, missing)


def _make_place_for_keys(tokens: TokenSettings | None) -> None:
    """The identity process itself could not: it reaches nothing but that folder."""
    file = None if tokens is None or tokens.kubernetes is None else tokens.kubernetes.jwks_file
    if file is None:
        return
    try:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"the folder of jwks_file {file} cannot be made: {error.strerror}") from error


def _prepare_store(manager: KeyManagerConfig) -> Path:
    refuse_unadopted(manager.path, manager.manager_type)
    path = store_path_for(manager.path)
    create_store(path)
    return path


def _started(
    mounted: Sequence[MountedProvider], stores: Sequence[Path], write: StoreWriter
) -> Iterator[MountedProvider]:
    """Start them; those that are absent, and may be, are left out."""
    for one in mounted:
        try:
            _start(one, stores[one.store], write)
        except BackEndAbsentError as error:
            _log.warning("provider %s is left out: %s", one.name, error.detail)
        else:
            yield one


def _start(mounted: MountedProvider, store: Path, write: StoreWriter) -> None:
    reader = Reader.open(store)
    try:
        before = reader.provider_state(mounted.name)
    finally:
        reader.close()
    try:
        after = mounted.provider.start(before)
    except BackEndAbsentError:
        raise
    except PsaError as error:
        raise StartError(f"provider {mounted.name} cannot start: {error.detail or error}") from error
    if after is not None and after != before:
        write(store, [SetProviderState(mounted.name, after)])


def _recover(store: Path, mounted: Mapping[str, MountedProvider], write: StoreWriter) -> None:
    """Resolve what was reserved or marked by processes that are no more, before the first request."""
    directory = leases_directory_for(store)
    reader = Reader.open(store)
    try:
        if found := orphans(reader, mounted):
            lease = Lease.acquire(directory)
            while found:
                outcomes = write(store, [claim_of(one, lease.holder) for one in found])
                claimed = [one for one, outcome in zip(found, outcomes, strict=True) if outcome.result is Result.DONE]
                ends = [end_of(one, lease.holder, _destroyed(mounted, one)) for one in claimed]
                # What has to wait is with this lease meanwhile, and so it is found no second time.
                write(store, [end for end in ends if not isinstance(end, Claim)])
                found = orphans(reader, mounted) if claimed else []
            lease.release()
    finally:
        reader.close()
    if directory.exists():
        for holder in dead_holders(directory):
            discard(directory, holder)


def _destroyed(mounted: Mapping[str, MountedProvider], orphan: StoredKey) -> PsaStatus | None:
    """Why the back end did not destroy it; None if it did."""
    try:
        mounted[orphan.record.identity.provider].provider.destroy(orphan.record.reference)
    except PsaError as error:
        return error.status
    return None


def listening(
    service: Service,
    config: ListenerConfig,
    listener: Listener,
    *,
    index: int,
    worker: int,
    authenticators: Mapping[int, Authenticator],
) -> Listening:
    """A listener as this worker serves it."""
    accepted: dict[int, Authenticator | TokenAuthenticator] = {}
    for auth in service.config.authenticators:
        if auth.auth_type not in config.auth_types:
            continue
        if auth.tokens is None:
            accepted[auth.auth_type] = authenticators[auth.auth_type]
        else:  # whose token it is may depend on the slot through which it comes
            accepted[auth.auth_type] = TokenAuthenticator(
                config.slot, clock_s=time, steady_clock_s=monotonic, names=dict(auth.names)
            )
    users = Users(
        service.users,
        listener=index,
        worker=worker,
        max_connections=config.max_connections_per_user,
        max_waiting=config.max_queued_requests_per_user,
        told_apart=config.slot is None,
    )
    return Listening(
        listener.socket.fileno(),
        door=Door(accepted),
        users=users,
        timeout_s=config.timeout_s,
        idle_timeout_s=config.kept_connection_idle_timeout_s,
        max_requests=config.max_requests_per_connection,
    )


def worker_main(
    service: Service, listeners: tuple[Listener, ...], generations: Generations, index: int, control: ControlLine
) -> None:
    """What a worker process runs."""
    config = service.config
    workers = config.core.thread_pool_size
    providers = tuple(
        one if one.remote else replace(one, stepped=one.provider.stepped(workers)) for one in service.providers
    )
    readers = [Reader.open(path) for path in service.stores]
    authenticators = {
        auth.auth_type: AUTHENTICATORS[auth.name]() for auth in config.authenticators if auth.tokens is None
    }
    keys = KeyCache(readers, generations)
    holders = [_holder(service, store) for store in range(len(service.stores))]
    factory = KeyFactory(holders, keys)
    audit = AuditLog(standard_error(), log_format=config.core.log_format) if config.core.audit else None
    counters = None if service.counters is None else service.counters.counters(index)
    observer = RequestObserver(audit) if counters is None else MeteredObserver(audit, counters)
    pipeline = Pipeline(
        core=CoreProvider(providers, readers, factory),
        providers=providers,
        keys=keys,
        factory=factory,
        rules=Rules(
            allow_deprecated=config.core.allow_deprecated,
            buffer_size_limit_bytes=config.core.buffer_size_limit_bytes,
            admins=config.admins,
            log_error_details=config.core.log_error_details,
        ),
        observe=observer,
        clock_ns=perf_counter_ns,
        quotas=None if service.rates is None else Quotas(config.quotas, service.rates),
    )
    recovery = Recovery(providers, readers, holders, factory) if index == 0 and any(holders) else None
    Worker(
        index,
        control=control,
        listeners=[
            listening(service, one, listener, index=number, worker=index, authenticators=authenticators)
            for number, (one, listener) in enumerate(zip(config.listeners, listeners, strict=True))
        ],
        pipeline=pipeline,
        writers=[WriterLink(reader) for reader in readers],
        hosts=service.hosted,
        loads=service.loads,
        body_len_limit_bytes=config.core.body_len_limit_bytes,
        execution_timeout_s=config.core.execution_timeout_s,
        notes=observer,
        counters=counters,
        chore=recovery,
    ).run()


def _holder(service: Service, store: int) -> str:
    """The lease of this process on a store; needed only where a back end keeps keys of its own, or objects."""
    if any(
        mounted.provider.keeps_keys or mounted.offers(Function.PS_SET)
        for mounted in service.providers
        if mounted.store == store
    ):
        return Lease.acquire(leases_directory_for(service.stores[store])).holder
    return ""


def helper_main(service: Service, control: ControlLine) -> None:
    """What a helper process runs."""
    run_helper(Executor({one.index: one.provider for one in service.providers if not one.remote}), control)


def host_main(service: Service, provider: int, control: ControlLine) -> None:
    """What the host process of the provider with this index runs."""
    back_end = service.providers[provider].provider
    try:
        serve_jobs(Executor({provider: back_end}), control)
    finally:
        back_end.close()


def identity_main(service: Service, control: ControlLine) -> None:
    """What the identity process runs."""
    core, tokens = service.config.core, service.config.tokens
    assert tokens is not None
    become_identity_program(
        Task(
            tokens=tokens,
            longest_s=core.execution_timeout_s,
            log_level=core.log_level,
            log_format=core.log_format,
            log_timestamps=core.log_timestamp,
        ),
        control,
    )


def scout_main(service: Service, control: ControlLine) -> None:
    """What the scout runs: it has no client, and so is idle."""
    os.nice(NICE)

    def teller(index: int) -> Callable[[int], None]:
        return partial(service.missing.__setitem__, index)

    turns = cycle(
        [
            Inspection(
                one,
                Reader.open(service.stores[one.store]),
                tell=teller(one.index),
                log_details=service.config.core.log_error_details,
            )
            for one in service.inspected
        ]
    )
    serve_jobs(Executor({}), control, when_idle=lambda: next(turns).step())


def writer_main(store: Path, generations: Generations, control: ControlLine, *, clients: int) -> None:
    """What the writer process of a store runs; so many ``clients`` of the last one are there."""
    run_writer(Writer.open(store, generations), control, clients=clients)
