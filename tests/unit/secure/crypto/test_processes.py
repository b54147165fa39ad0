"""Contexts in processes of their own, over memory that they really share."""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import AbstractContextManager

from edgeroot.secure.partitions.crypto.keys import SHARED_BYTES, KeyStore
from edgeroot.secure.partitions.crypto.storage_port import RpcKeyStorage
from tests.support.crypto_partition import Context, StorageService, attributes, tlv, u32

IMPORT, DESTROY, EXPORT = 0x0107, 0x0102, 0x0105
INVALID_HANDLE, NO_MEMORY = -136, -141
ROUNDS, PROCESSES = 150, 3
IDS = [0x7FFFFFE0 + index for index in range(32)]


class FileLock(AbstractContextManager[None]):
    def __init__(self) -> None:
        self._descriptor = os.memfd_create("lock")

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_exception: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)


def work(context: Context, number: int) -> None:
    """Every key has the content that its maker gave it, for as long as it exists, and so it is whoever reads it."""
    for count in range(ROUNDS):
        secret = b"%d of %d\n" % (count, number) * (1 + count % 50)
        status, key_id = context.call(IMPORT, attributes(0x1001, 0, usage=1, alg=0) + tlv(1, secret))
        assert status in (0, NO_MEMORY)
        if status == 0:
            assert context.ok(EXPORT, key_id) == tlv(1, secret)
        for other in IDS[:PROCESSES]:
            status, data = context.call(EXPORT, u32(other))
            assert status in (0, INVALID_HANDLE)
            assert len(set(data[4:].split(b"\n"))) <= 2  # lines of one maker, and the end
        if key_id:
            context.ok(DESTROY, key_id)
            assert context.call(DESTROY, u32(0x7FFFFFFF))[0] == INVALID_HANDLE


def test_processes_share_keys_and_never_mix_them_up() -> None:
    memory, lock = mmap.mmap(-1, SHARED_BYTES), FileLock()
    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                storage = RpcKeyStorage(StorageService())
                work(Context(KeyStore(memoryview(memory), lock, storage)), number)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    lock.close()
    assert codes == [0] * PROCESSES
    assert not any(memory[len(memory) - 256 * 4160 :])
