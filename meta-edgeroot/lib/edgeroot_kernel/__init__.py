"""The kernel options that edgeroot needs, and those that a configuration lacks. Pure, for bitbake and for tests."""

ALWAYS = {
    "CONFIG_UNIX": "clients reach the service over a Unix socket",
    "CONFIG_SECCOMP_FILTER": "the service and the partitions give up system calls",
    "CONFIG_SECURITY_LANDLOCK": "the service gives up the file system",
    "CONFIG_MEMFD_CREATE": "the secure world's shared memory, and images that are verified where they lie",
    "CONFIG_USER_NS": "partitions without root are namespaces of their own",
    "CONFIG_PID_NS": "partitions do not see other processes",
    "CONFIG_NET_NS": "partitions have no network",
}
BACK_ENDS = {
    "tpm": {"CONFIG_TCG_TPM": "keys in a TPM", "CONFIG_TCG_TIS_CORE": "most TPMs are reached by it"},
    "ts": {
        "CONFIG_ARM_FFA_TRANSPORT": "FF-A reaches the secure partitions",
        "CONFIG_TEE": "the devices of Trusted Services",
        "CONFIG_ARM_TSTEE": "Trusted Services for user space",
    },
}


def missing(config, back_ends):
    """Pairs of an option and the reason for it, of those that are neither ``y`` nor ``m`` in the text of a .config."""
    there = {line.partition("=")[0] for line in config.splitlines() if line.endswith(("=y", "=m"))}
    wanted = dict(ALWAYS)
    for name in back_ends:
        wanted.update(BACK_ENDS[name])
    return [(option, reason) for option, reason in wanted.items() if option not in there]
