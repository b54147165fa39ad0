SUMMARY = "Reference implementation of The Update Framework"
DESCRIPTION = "The Update Framework: releases that stay verifiable when keys are lost."
HOMEPAGE = "https://pypi.org/project/tuf/"
BUGTRACKER = "https://pypi.org/project/tuf/"
SECTION = "devel/python"
LICENSE = "Apache-2.0 | MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=8cc789b082b3d97e1ccc5261f8594d3f"

CVE_PRODUCT = "tuf"

SRC_URI[sha256sum] = "5ada1db78da3518fa851e28588f4b2249b8662a28ae528f54afa2a1de541fb31"

inherit pypi python_hatchling

RDEPENDS:${PN} = "\
    python3-securesystemslib \
    python3-urllib3 \
"

BBCLASSEXTEND = "native nativesdk"
