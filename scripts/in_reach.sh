#!/bin/sh
# As root, services and partitions run as users of their own, who have to get at this checkout.
set -eu

[ "$(id -u)" -eq 0 ] || exit 0
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$here
while [ "$folder" != / ]; do
    case $(stat -c %a "$folder") in
    *[1357]) ;;
    *)
        echo "error: only root may enter $folder, and as root this runs services as other users, who need" >&2
        echo "what lies in it. Move the checkout: mv $here /opt/ && make -C /opt/${here##*/} $*" >&2
        exit 1
        ;;
    esac
    folder=$(dirname "$folder")
done
