#!/bin/sh
# Installs the system packages that some tests need, when that is possible (Debian, root).
# Elsewhere those tests skip and say which package is missing; with CI set a skip of that kind is a failure.
# Arguments: other needs instead, as command:package.
set -eu
PATH="$PATH:/usr/sbin"
missing=""
# command:package
[ $# -gt 0 ] ||
    set -- curl:curl mosquitto:mosquitto mosquitto_pub:mosquitto-clients dbus-daemon:dbus node:nodejs npm:npm \
        faketime:faketime ip:iproute2 lighttpd:lighttpd mkfs.ext4:e2fsprogs cc:gcc cc:libc6-dev \
        systemd-analyze:systemd strace:strace docker-compose:docker-compose
for needed in "$@"; do
    command -v "${needed%%:*}" >/dev/null 2>&1 || missing="$missing ${needed##*:}"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Not root or no apt: tests that need$missing will be skipped."
    exit 0
fi
echo "Installing system packages for the tests:$missing"

# The tests start brokers of their own on free ports: no service may start, now or at boot. invoke-rc.d asks
# policy-rc.d whether it may (101: no); an answer that is there already stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
case "$missing" in
*" lighttpd"*) command -v systemctl >/dev/null 2>&1 && systemctl --quiet disable lighttpd >/dev/null 2>&1 || true ;;
esac
case "$missing" in
*" mosquitto"*) command -v systemctl >/dev/null 2>&1 && systemctl --quiet disable mosquitto >/dev/null 2>&1 || true ;;
esac
case "$missing" in
*" bluez"*) command -v systemctl >/dev/null 2>&1 && systemctl --quiet disable bluetooth >/dev/null 2>&1 || true ;;
esac
