SUMMARY = "Python wrapper of PKCS#11 modules"
DESCRIPTION = "Lets Python programs use any PKCS#11 module."
HOMEPAGE = "https://pypi.org/project/pykcs11/"
BUGTRACKER = "https://pypi.org/project/pykcs11/"
SECTION = "devel/python"
LICENSE = "GPL-2.0-or-later"
LIC_FILES_CHKSUM = "file://COPYING;md5=751419260aa954499f7abaabaa882bbe"

CVE_PRODUCT = "pykcs11"

SRC_URI[sha256sum] = "1f7a7c8164fac636382aa7b0d70279ad5581379748fc17a20bc0be8fe574c259"

DEPENDS = "swig-native"

inherit pypi python_setuptools_build_meta

BBCLASSEXTEND = "native nativesdk"
