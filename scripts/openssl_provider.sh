#!/bin/sh
# Make sure that OpenSSL's provider for PKCS#11 is installed. Debian 12 has it in its backports only.
set -eu

for found in /usr/lib/*/ossl-modules/pkcs11.so; do
    [ ! -e "$found" ] || exit 0
done
here=$(dirname "$0")
# shellcheck source=/dev/null
. /etc/os-release
if [ "${VERSION_CODENAME:-}" != bookworm ]; then
    exec "$here/debian_packages.sh" pkcs11-provider
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "error: needed and not installed: pkcs11-provider, of bookworm-backports: run this as root" >&2
    exit 1
fi
echo "installing pkcs11-provider (bookworm-backports)"
# Lists of its own, so that the machine's configuration of apt stays as it is.
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
chmod 755 "$lists"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main" \
    >"$lists/backports.list"
mkdir -p "$lists/state"
export DEBIAN_FRONTEND=noninteractive
set -- -o "Dir::Etc::sourceparts=$lists" -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::State::lists=$lists/state"
apt-get "$@" update -qq
(cd "$lists" && apt-get "$@" download -qq pkcs11-provider)
dpkg --install "$lists"/pkcs11-provider_*.deb >/dev/null
