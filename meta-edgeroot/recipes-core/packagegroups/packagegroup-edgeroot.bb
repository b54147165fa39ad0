SUMMARY = "Keys in hardware for every workload of a device"
DESCRIPTION = "The Parsec service, its PKCS#11 module, and what the emulated secure world and updates need."
BUGTRACKER = "https://github.com/edgeroot/edgeroot/issues"
SECTION = "security"
LICENSE = "MIT"

inherit packagegroup

RDEPENDS:${PN} = "\
    edgeroot \
    edgeroot-pkcs11 \
    edgeroot-secure-world \
    edgeroot-update \
"
