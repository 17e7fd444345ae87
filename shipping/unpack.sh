#!/bin/sh
# Fills the image's virtual environment without running anything of its architecture: wheels are only unpacked.
# Usage: unpack.sh lock amd64|arm64|arm SITE_PACKAGES     everything of the board's lock file
#        unpack.sh own ENVIRONMENT                        the gateway itself, from the current folder
set -eu
pip() { python3 -m pip --disable-pip-version-check --quiet --no-cache-dir "$@"; }

lock() {
    case $1 in
    amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; arm) machine=armv7l ;;
    *) echo "unpack.sh: amd64, arm64 or arm, not $1" >&2; exit 2 ;;
    esac
    platforms=""
    for glibc in 2_36 2_35 2_34 2_31 2_28 2_27 2_26 2_24 2_17; do
        platforms="$platforms --platform manylinux_${glibc}_$machine"
    done
    # shellcheck disable=SC2086
    pip install --no-deps --only-binary :all: --python-version 3.11 $platforms --platform "manylinux2014_$machine" \
        --target "$2" -r "lock/$machine.txt"
    # Pure Python, from source: a wheel would be this machine's own. SKIP_CYTHON: dbus-fast would compile itself.
    SKIP_CYTHON=1 pip install --no-deps --no-binary dbus-fast,paho-mqtt --target "$2" -r "lock/$machine-source.txt"
    rm -rf "$2/bin"
}

own() {
    site=$1/lib/python3.11/site-packages
    pip install --no-deps --target "$site" .
    rm -rf "$site/bin"
    printf '#!%s/bin/python3\nimport sys\nfrom gateway.__main__ import main\nsys.exit(main())\n' "$1" >"$1/bin/gateway"
    chmod 755 "$1/bin/gateway"
    # Unchecked: the image's files never change, and its root is read-only.
    python3 -m compileall -q --invalidation-mode unchecked-hash "$site" || true
}

case ${1:-} in
lock) lock "$2" "$3" ;;
own) own "$2" ;;
*) sed -n '2,4s/^# //p' "$0"; exit 2 ;;
esac
