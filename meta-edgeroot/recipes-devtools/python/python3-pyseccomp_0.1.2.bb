SUMMARY = "ctypes bindings of libseccomp"
DESCRIPTION = "Pure Python bindings of libseccomp, by ctypes: programs give up system calls."
HOMEPAGE = "https://pypi.org/project/pyseccomp/"
BUGTRACKER = "https://pypi.org/project/pyseccomp/"
SECTION = "devel/python"
LICENSE = "MIT"
# The archive has no file with the licence.
# nooelint: oelint.var.licenseremotefile
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

CVE_PRODUCT = "pyseccomp"

SRC_URI[sha256sum] = "0d54efacf71bda4bdfd21233f5444b730cbecf593d602f796e6412a8682258bd"

inherit pypi setuptools3

RDEPENDS:${PN} = "\
    libseccomp \
    python3-ctypes \
    python3-logging \
"

BBCLASSEXTEND = "native nativesdk"
