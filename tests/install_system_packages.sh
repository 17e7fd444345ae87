#!/bin/sh
# Installs the system packages that some tests need, when that is possible (Debian, root).
# Elsewhere those tests skip and say which package is missing; with CI set a skip of that kind is a failure.
set -eu
packages="curl"
missing=""
for package in $packages; do
    command -v "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing system packages for the tests:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "Not root or no apt: tests that need$missing will be skipped."
fi
