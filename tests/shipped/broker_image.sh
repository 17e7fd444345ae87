#!/bin/sh
# Makes an image that stands in for eclipse-mosquitto where no registry of images is at hand: Debian's mosquitto on its
# bookworm-slim, with the user, the folder and the nc that config/compose.yaml counts on.
# Usage: broker_image.sh NAME CACHE_DIR
set -eu
buildah inspect --type image "$1" >/dev/null 2>&1 && exit 0
base=$(sh "$(dirname "$0")/../../shipping/base_image.sh" amd64 "$2" | tail -1)
container=$(buildah from --pull-never "$base")
cp /etc/resolv.conf "$(buildah mount "$container")/etc/resolv.conf"
buildah run --isolation chroot --network host "$container" sh -euc '
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install mosquitto netcat-openbsd >/dev/null
    usermod -u 1883 mosquitto && groupmod -g 1883 mosquitto
    mkdir -p /mosquitto/data && chown 1883:1883 /mosquitto/data' >&2
buildah commit --quiet --rm --format docker "$container" "$1" >/dev/null
