SUMMARY = "Parsec security service with software, TPM, PKCS#11 and Trusted Services keys"
SUMMARY:${PN}-secure-world = "What isolates the partitions of edgeroot's emulated secure world"
SUMMARY:${PN}-verifier = "What edgeroot's verifier needs as a server"
SUMMARY:${PN}-update = "What edgeroot's firmware updates need"
DESCRIPTION = "Keeps cryptographic keys for the programs on a device and lets them use the keys without ever holding them."
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

DEPENDS = "python3-setuptools-native"

require edgeroot.inc

SRC_URI += "\
    file://edgeroot.init \
    file://run-ptest \
"

inherit ptest python_hatchling systemd update-rc.d useradd

# A device maker's own configuration: in a bbappend, with the file in FILESEXTRAPATHS.
PARSEC_CONFIG ?= "${S}/deploy/config/parsec.toml"

PACKAGECONFIG ??= "\
    software \
    ${@bb.utils.contains('DISTRO_FEATURES', 'tpm2', bb.utils.contains('BBFILE_COLLECTIONS', 'tpm-layer', 'tpm', '', d), '', d)} \
"
PACKAGECONFIG[software] = ""
PACKAGECONFIG[tpm] = ",,,python3-tpm2-pytss tpm2-tss"
PACKAGECONFIG[pkcs11] = ",,,python3-pykcs11"
PACKAGECONFIG[ts] = ""
PACKAGECONFIG[cryptoauthlib] = ",,,python3-cryptoauthlib"

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --home-dir ${localstatedir}/lib/parsec --no-create-home --shell /sbin/nologin --gid parsec parsec"
GROUPADD_PARAM:${PN} = "--system parsec; --system parsec-clients"
# The TPM's resource manager belongs to tss, and the devices of Trusted Services to teeclnt, where there are any.
GROUPADD_PARAM:${PN} .= "${@bb.utils.contains('PACKAGECONFIG', 'tpm', '; --system tss', '', d)}"
GROUPADD_PARAM:${PN} .= "${@bb.utils.contains('PACKAGECONFIG', 'ts', '; --system teeclnt', '', d)}"
GROUPMEMS_PARAM:${PN} = "--add parsec --group parsec-clients"
GROUPMEMS_PARAM:${PN} .= "${@bb.utils.contains('PACKAGECONFIG', 'tpm', '; --add parsec --group tss', '', d)}"
GROUPMEMS_PARAM:${PN} .= "${@bb.utils.contains('PACKAGECONFIG', 'ts', '; --add parsec --group teeclnt', '', d)}"

SYSTEMD_SERVICE:${PN} = "edgeroot.socket edgeroot.service"
INITSCRIPT_NAME = "edgeroot"
INITSCRIPT_PARAMS = "defaults 50"

do_install:append() {
    install -d ${D}${systemd_system_unitdir}
    for unit in edgeroot.service edgeroot.socket; do
        install -m 0644 ${S}/deploy/systemd/$unit ${D}${systemd_system_unitdir}/$unit
        sed -i 's#/opt/edgeroot/bin/edgeroot#${bindir}/edgeroot#' ${D}${systemd_system_unitdir}/$unit
    done
    install -D -m 0644 ${S}/deploy/systemd/tmpfiles.conf ${D}${nonarch_libdir}/tmpfiles.d/edgeroot.conf
    install -D -m 0755 ${UNPACKDIR}/edgeroot.init ${D}${sysconfdir}/init.d/edgeroot
    install -d -m 0755 ${D}${sysconfdir}/parsec
    install -m 0400 -o parsec -g parsec ${PARSEC_CONFIG} ${D}${sysconfdir}/parsec/config.toml
    install -d -m 0700 -o parsec -g parsec ${D}${localstatedir}/lib/parsec
}

PACKAGES =+ "${PN}-secure-world ${PN}-verifier ${PN}-update"

ALLOW_EMPTY:${PN}-secure-world = "1"
ALLOW_EMPTY:${PN}-verifier = "1"
ALLOW_EMPTY:${PN}-update = "1"

FILES:${PN} += "${nonarch_libdir}/tmpfiles.d ${systemd_system_unitdir}"
CONFFILES:${PN} = "${sysconfdir}/parsec/config.toml"

RDEPENDS:${PN} = "\
    python3-cbor2 \
    python3-click \
    python3-core \
    python3-cryptography \
    python3-prometheus-client \
    python3-protobuf \
    python3-pyseccomp \
    python3-rich \
    python3-sqlite3 \
"
RDEPENDS:${PN}-secure-world = "${PN} bubblewrap"
RDEPENDS:${PN}-verifier = "${PN} python3-pyjwt python3-uvicorn"
RDEPENDS:${PN}-update = "${PN} python3-securesystemslib python3-tuf"
RDEPENDS:${PN}-ptest = "${PN} edgeroot-pkcs11 opensc openssl-bin"

RPROVIDES:${PN} = "parsec-service"
RREPLACES:${PN} = "parsec-service"
RCONFLICTS:${PN} = "parsec-service"
