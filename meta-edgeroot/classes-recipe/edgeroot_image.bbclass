# For an image whose workloads have keys in hardware: `inherit edgeroot_image` in it, or in local.conf by IMAGE_CLASSES.
#
# It installs the service, and looks whether the kernel has what the service's isolation and its back ends need.
# EDGEROOT_KERNEL_CHECK is "warn" or "error"; EDGEROOT_BACK_ENDS are of "tpm" and "ts", by the machine's features.

IMAGE_INSTALL:append = " packagegroup-edgeroot"
IMAGE_INSTALL:append = " ${@'tpm2-tss' if 'tpm' in d.getVar('EDGEROOT_BACK_ENDS').split() else ''}"
IMAGE_INSTALL:append = " ${@'libts' if 'ts' in d.getVar('EDGEROOT_BACK_ENDS').split() else ''}"

EDGEROOT_KERNEL_CHECK ?= "warn"
EDGEROOT_BACK_ENDS ?= "\
    ${@bb.utils.contains('MACHINE_FEATURES', 'tpm2', 'tpm', '', d)} \
    ${@bb.utils.contains('MACHINE_FEATURES', 'arm-ffa', 'ts', '', d)} \
"

python do_edgeroot_kernel_check() {
    from edgeroot_kernel import missing

    path = os.path.join(d.getVar("STAGING_KERNEL_BUILDDIR"), ".config")
    with open(path) as file:
        found = missing(file.read(), d.getVar("EDGEROOT_BACK_ENDS").split())
    for option, reason in found:
        tell = bb.error if d.getVar("EDGEROOT_KERNEL_CHECK") == "error" else bb.warn
        tell(f"the kernel lacks {option}: {reason}")
}
do_edgeroot_kernel_check[doc] = "Say which options that edgeroot needs the kernel lacks."
do_edgeroot_kernel_check[depends] += "virtual/kernel:do_shared_workdir"
addtask edgeroot_kernel_check before do_rootfs
