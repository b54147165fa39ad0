SUMMARY = "PKCS#11 module for the keys of a Parsec service"
DESCRIPTION = "OpenSSL, curl, nginx, ssh, GnuTLS and Java use the keys of a Parsec service as they are."
LIC_FILES_CHKSUM = "file://../../LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

require edgeroot.inc

S = "${UNPACKDIR}/${BP}/native/pkcs11"

inherit cargo

do_install() {
    install -d ${D}${libdir}/pkcs11 ${D}${datadir}/p11-kit/modules
    install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/libedgeroot_pkcs11.so ${D}${libdir}/pkcs11/edgeroot-pkcs11.so
    install -m 0644 ${S}/../../deploy/debian/edgeroot.module ${D}${datadir}/p11-kit/modules/edgeroot.module
}

FILES:${PN} += "${libdir}/pkcs11 ${datadir}/p11-kit"

BBCLASSEXTEND = "native nativesdk"
