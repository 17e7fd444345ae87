#!/bin/sh
# Makes docker.io/<namespace>/debian:bookworm-slim for buildah out of Debian's own packages, where no registry of images
# is at hand. Root of the other architecture is made once and kept in a cache; QEMU runs its programs.
# Usage: base_image.sh armhf|arm64|amd64 CACHE_DIR [root-only]
# The real bookworm-slim is made the same way (debuerreotype: minbase, without documentation and translations).
set -eu
arch=$1
cache=$2
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
case $arch in
armhf) name=docker.io/arm32v7/debian:bookworm-slim platform="--arch arm --variant v7" binfmt=qemu-arm ;;
arm64) name=docker.io/arm64v8/debian:bookworm-slim platform="--arch arm64" binfmt=qemu-aarch64 ;;
amd64) name=docker.io/library/debian:bookworm-slim platform="--arch amd64" binfmt=qemu-x86_64 ;;
*) echo "base_image.sh: armhf, arm64 or amd64, not $arch" >&2; exit 2 ;;
esac
root=$cache/bookworm-$arch
here=$(cd "$(dirname "$0")" && pwd)

# A board builds its own architecture without QEMU, and most 64-bit ARM boards run 32-bit programs by themselves.
host=$(dpkg --print-architecture)
if [ "$arch" != "$host" ] && [ ! -e "/proc/sys/fs/binfmt_misc/$binfmt" ]; then
    mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    update-binfmts --enable "$binfmt" || [ "$arch on $host" = "armhf on arm64" ]
fi

if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
    cp "$here/slim.dpkg.cfg" "$root/etc/dpkg/dpkg.cfg.d/slim"
    debootstrap --arch="$arch" --variant=minbase bookworm "$root" "$mirror" >&2
    # debootstrap unpacks the first packages by itself, without dpkg's filter.
    rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/usr/share/info/*
    rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/log/*
    printf 'deb %s bookworm main\n' "$mirror" >"$root/etc/apt/sources.list"
    printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/slim"
    touch "$root/.complete"
fi

[ "${3:-}" != root-only ] || { echo "$root"; exit 0; }

if ! buildah inspect --type image "$name" 2>/dev/null | grep -q "\"gateway-bridge.base\": \"$arch\""; then
    container=$(buildah from scratch)
    # shellcheck disable=SC2086
    buildah config $platform --os linux --label "gateway-bridge.base=$arch" --cmd bash \
        --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah add --quiet "$container" "$root" / >/dev/null
    buildah commit --quiet --rm "$container" "$name" >/dev/null
fi
echo "$name"
