"""System calls that a process gives up, by libseccomp (through pyseccomp)."""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import tempfile
from collections.abc import Iterable
from typing import Final

# What no process of ours has a use for, and whoever takes one over has: other processes' memory, new name spaces,
# kernel interfaces with a history of holes. To try one of these is an attack, and ends the process that tries.
HOSTILE: Final = tuple(
    """
    ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    keyctl add_key request_key kexec_load kexec_file_load init_module finit_module delete_module
    mount umount2 pivot_root move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
    unshare setns chroot reboot swapon swapoff acct iopl ioperm settimeofday clock_settime adjtimex
    open_by_handle_at name_to_handle_at quotactl nfsservctl lookup_dcookie vm86 modify_ldt
    """.split()
)
# All that a partition's process does once it is confined: work in memory, on descriptors that it has, and on the files
# that its mount name space and Landlock leave it.
PARTITION: Final = tuple(
    """
    read write readv writev pread64 pwrite64 lseek close close_range dup dup2 dup3 fcntl
    recvmsg recvfrom sendmsg sendto recvmmsg sendmmsg getsockopt getsockname getpeername shutdown
    epoll_create1 epoll_create epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6 eventfd2
    mmap munmap mprotect mremap madvise brk mlock mlock2 munlock mlockall msync membarrier
    memfd_create ftruncate fallocate fsync fdatasync sync_file_range
    open openat openat2 stat lstat fstat newfstatat statx access faccessat faccessat2 readlink readlinkat getdents64
    rename renameat renameat2 unlink unlinkat link linkat mkdir mkdirat chmod fchmod fchmodat flock umask getcwd
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage sysinfo uname
    getrandom getpid getppid gettid getuid geteuid getgid getegid getgroups getpriority setpriority
    getresuid getresgid prlimit64 getrlimit prctl sched_yield sched_getaffinity sched_setaffinity
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait sigaltstack restart_syscall
    futex futex_waitv set_robust_list get_robust_list set_tid_address rseq arch_prctl
    exit exit_group wait4 waitid kill tgkill tkill
    """.split()
)


_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_INSTRUCTION_BYTES: Final = 8
# All of ioctl that is left: to make a descriptor wait or not, and to close it in other programs.
_FIONBIO: Final = 0x5421
_FIOCLEX: Final = 0x5451
I2C_SLAVE: Final = 0x0703
"""The ioctl that says which device on the bus is meant (linux/i2c-dev.h); one for those that have a bus."""
_libc: Final = ctypes.CDLL(None, use_errno=True)


def is_available() -> bool:
    """Whether filters can be made here."""
    try:
        importlib.import_module("pyseccomp")
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def compile_filter(allowed: Iterable[str] | None, *, requests: Iterable[int] = ()) -> bytes:
    """A filter for :func:`install`, empty if there is no libseccomp. Hostile calls end the process.

    Others than the ``allowed`` ones fail with EPERM, because libraries probe for what they can do without; None allows
    everything that is not hostile. ``requests`` of ioctl are allowed beside the two that everybody has.
    """
    if not is_available():
        return b""
    seccomp = importlib.import_module("pyseccomp")
    rules = seccomp.SyscallFilter(seccomp.ALLOW if allowed is None else seccomp.ERRNO(errno.EPERM))
    for action, names in ((seccomp.KILL_PROCESS, HOSTILE), (seccomp.ALLOW, allowed or ())):
        for name in names:
            if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) >= 0:  # others are not of this architecture
                rules.add_rule(action, name)
    if allowed is not None:
        for request in (_FIONBIO, _FIOCLEX, *requests):
            rules.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, request))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def install(program: bytes) -> list[str]:
    """Have the kernel apply a filter to this process, and to those that it forks, for ever. What was refused, in words.

    Needs PR_SET_NO_NEW_PRIVS.
    """
    if not program:
        return ["every system call stays open (libseccomp is not there)"]
    instructions = ctypes.create_string_buffer(program, len(program))
    header = _Program(len(program) // _INSTRUCTION_BYTES, ctypes.addressof(instructions))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(header), 0, 0) != 0:
        return [f"every system call stays open (seccomp: {os.strerror(ctypes.get_errno())})"]
    return []


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))
