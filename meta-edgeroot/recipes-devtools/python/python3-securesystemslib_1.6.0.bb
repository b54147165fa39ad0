SUMMARY = "Cryptography for secure systems, as TUF and in-toto use it"
DESCRIPTION = "Signatures, digests and envelopes as TUF and in-toto use them."
HOMEPAGE = "https://pypi.org/project/securesystemslib/"
BUGTRACKER = "https://pypi.org/project/securesystemslib/"
SECTION = "devel/python"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=e9703d169911cdb29305f88411c78717"

CVE_PRODUCT = "securesystemslib"

SRC_URI[sha256sum] = "b16e07c32bb41174c2ee2fb18f478ebe0d52e0e7c1fb085ce89c990452a35977"

inherit pypi python_hatchling

RDEPENDS:${PN} = "python3-cryptography"

BBCLASSEXTEND = "native nativesdk"
