#!/bin/sh
# Downloads Debian's packages that the bundle brings (Python, NumPy, Pillow, cffi, certificates, time zones), with all
# they need beyond a bare bookworm, into a folder. Usage: debs.sh armhf CACHE_DIR FOLDER
# apt and dpkg of this machine do it, with the status of the cached root: nothing of the other architecture runs.
set -eu
arch=$1
root=$2/bookworm-$arch
folder=$3
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
sh "$(dirname "$0")/base_image.sh" "$arch" "$2" root-only >/dev/null
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/etc" "$folder"
cp "$root/var/lib/dpkg/status" "$state/status"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [arch=$arch signed-by=$keys] $mirror bookworm main" >"$state/sources.list"
options="-o APT::Architecture=$arch -o APT::Architectures=$arch -o Dir::State=$state -o Dir::State::status=$state/status
    -o Dir::Cache=$state/cache -o Dir::Etc::sourcelist=$state/sources.list -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o APT::Install-Recommends=false -o Acquire::Languages=none
    -o APT::Sandbox::User=root -o Debug::NoLocking=1"
# shellcheck disable=SC2086
apt-get $options -qq update
# shellcheck disable=SC2086
apt-get $options -qq --yes --download-only install python3 python3-numpy python3-pil python3-cffi-backend ca-certificates tzdata >/dev/null
cp "$state"/cache/archives/*.deb "$folder/"
ls "$folder" | wc -l
