"""What `edgeroot doctor` asks of the service's side: its configuration, and what of this machine weakens it."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeroot.cli.doctor import Finding, Level, Subject

_SWAPS: Final = Path("/proc/swaps")
_CORE_PATTERN: Final = Path("/proc/sys/kernel/core_pattern")
_PTRACE_SCOPE: Final = Path("/proc/sys/kernel/yama/ptrace_scope")
_SYSTEMD: Final = Path("/run/systemd/system")
_FILES_MIN: Final = 4096


def checks(subject: Subject) -> Iterator[Finding]:
    """The installation and the machine, then the configuration if one is named."""
    yield from _native()
    yield from _swap(_text(_SWAPS))
    yield from _limits()
    yield from _other_processes(_text(_PTRACE_SCOPE))
    if _SYSTEMD.is_dir():
        yield Finding("ok", "systemd", "it runs here: socket activation and readiness notification will work")
    else:
        yield Finding("note", "systemd", "it does not run here", "Start the service with `edgeroot serve` or `up`.")
    if subject.config is not None:
        yield from _configuration(subject.config)


def _native() -> Iterator[Finding]:
    from edgeroot.daemon import exchange

    if exchange.IS_NATIVE:
        yield Finding("ok", "native module", "the service's socket calls are compiled")
    else:
        fix = "For a faster service install a C compiler and Python's header files (Debian: gcc libc6-dev python3-dev),"
        yield Finding("note", "native module", "it was not compiled", f"{fix} then edgeroot again.")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _swap(swaps: str) -> Iterator[Finding]:
    """Swap on a disk may keep key material; zram is memory."""
    devices = [line.split()[0] for line in swaps.splitlines()[1:] if line.strip()]
    on_disk = [device for device in devices if not device.startswith("/dev/zram")]
    if on_disk:
        fix = "Encrypt the swap, or switch it off (swapoff -a)."
        yield Finding("warning", "swap", f"key material may be written to {', '.join(on_disk)}", fix)
    else:
        yield Finding("ok", "swap", "no swap on a disk")


def _limits() -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    pattern = _text(_CORE_PATTERN).strip()
    if soft == 0:
        yield Finding("ok", "core dumps", "off in this shell")
    else:
        fix = "Run `ulimit -c 0` before the service, or set LimitCORE=0 in its systemd unit."
        yield Finding("note", "core dumps", f"a crash of a process started here may be written to {pattern!r}", fix)
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard == resource.RLIM_INFINITY:  # the service locks all of its memory or none
        yield Finding("ok", "memory locks", "key material may be kept out of swap")
    else:
        fix = "Set LimitMEMLOCK=infinity in the service's systemd unit, or raise memlock in limits.conf."
        yield Finding("note", "memory locks", f"at most {hard >> 10} KiB may be locked", fix)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= _FILES_MIN:
        yield Finding("ok", "open files", "enough for thousands of clients")
    else:
        fix = "Set LimitNOFILE=65536 in the service's systemd unit."
        yield Finding("warning", "open files", f"at most {files} may be open, one for each connected client", fix)


def _other_processes(ptrace_scope: str) -> Iterator[Finding]:
    if ptrace_scope.strip() == "0":
        fix = "Run the service as a user of its own; or sysctl kernel.yama.ptrace_scope=1."
        yield Finding("note", "ptrace", "programs of the service's own user may read its memory", fix)
    elif ptrace_scope:
        yield Finding("ok", "ptrace", "programs cannot read each other's memory")


def _configuration(path: Path) -> Iterator[Finding]:
    from edgeroot.daemon.assembly import can_judge_tokens, provider_types
    from edgeroot.daemon.config import ConfigError, load_config

    try:
        config = load_config(path, provider_types())
    except ConfigError as error:
        for problem in error.problems:
            yield Finding("failure", "configuration", problem, f"Correct it in {path}.")
        return
    yield Finding("ok", "configuration", f"{path} is in order")
    for warning in config.warnings:
        yield Finding("warning", "configuration", warning, f"Change it in {path}.")
    if config.tokens is not None and not can_judge_tokens():
        yield Finding("failure", "tokens", "JwtSvid needs what is not installed", "pip install 'edgeroot[k8s]'")
    for folder in {listener.folder for listener in config.listeners}:
        yield from _folder("socket", folder)
    for folder in {manager.path.parent for manager in config.key_managers}:
        yield from _folder("key store", folder)


def _folder(check: str, folder: Path) -> Iterator[Finding]:
    """Whoever may write the folder of the socket or of the store can put something else in their place."""
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        fix = f"mkdir -p {folder}, and give it to the user that the service runs as."
        yield Finding("failure", check, f"the folder {folder} does not exist", fix)
        return
    except OSError as error:
        fix = "Run doctor as the user that the service runs as."
        yield Finding("note", check, f"the folder {folder} cannot be looked at: {error.strerror}", fix)
        return
    if mode & stat.S_IWOTH:
        fix = f"chmod o-w {folder}, or use a folder of the service's own."
        level: Level = "warning" if mode & stat.S_ISVTX else "failure"
        yield Finding(level, check, f"every user may write to {folder}", fix)
    else:
        yield Finding("ok", check, f"{folder} is closed to writing by others")
