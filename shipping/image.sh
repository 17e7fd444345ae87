#!/bin/sh
# Builds an image: with Docker where its engine answers, else with buildah (and QEMU for another architecture).
# Usage: image.sh build arm32v7|amd64|arm64 CACHE_DIR [TARGET_STAGE]   prints the image's name
#        image.sh name arm32v7|amd64|arm64
#        image.sh save arm32v7|amd64|arm64 FILE.tar.gz                  for "docker load" at a site without a registry
#        image.sh export IMAGE DIRECTORY                                its root file system, and image.json beside it
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)

has_docker() { command -v docker >/dev/null 2>&1 && docker version >/dev/null 2>&1; }

# Without a registry's name before it, as docs and compose.yaml call it; buildah puts localhost/ there.
image_name() { has_docker && echo "gateway:$version-$1" || echo "localhost/gateway:$version-$1"; }

need_buildah() {
    command -v buildah >/dev/null 2>&1 && command -v debootstrap >/dev/null 2>&1 && return
    echo "No Docker engine here, and no buildah. As root on Debian:" >&2
    echo "  apt-get install --no-install-recommends buildah crun golang-github-containers-common debootstrap qemu-user-static binfmt-support" >&2
    exit 1
}

build() {
    case $1 in
    arm32v7) platform=linux/arm/v7 file=Dockerfile.arm32v7 debian=armhf target=arm ;;
    amd64) platform=linux/amd64 file=Dockerfile debian=amd64 target=amd64 ;;
    arm64) platform=linux/arm64 file=Dockerfile debian=arm64 target=arm64 ;;
    *) echo "image.sh: arm32v7, amd64 or arm64, not $1" >&2; exit 2 ;;
    esac
    stage=${3:-}
    name=$(image_name "$1${stage:+-$stage}")
    if has_docker; then
        docker build --platform "$platform" ${stage:+--target "$stage"} -f "$file" -t "$name" . >&2
    else
        need_buildah
        base=$(sh shipping/base_image.sh "$debian" "$2" | tail -1)
        native=$(sh shipping/base_image.sh "$(dpkg --print-architecture)" "$2" | tail -1)
        # The host's authorities, for pip during the build only. --format docker: OCI's has no HEALTHCHECK.
        ca=/etc/ssl/certs/ca-certificates.crt
        trust=""
        [ ! -r "$ca" ] || trust="--volume $ca:/run/build-ca.pem:ro --build-arg PIP_CERT=/run/build-ca.pem"
        # shellcheck disable=SC2086
        buildah build --isolation chroot --pull-never --layers --format docker --platform "$platform" $trust \
            --build-arg "BASE=$base" --build-arg "BUILD_BASE=$native" --build-arg "TARGETARCH=$target" \
            --build-arg "BUILDPLATFORM=linux/$(dpkg --print-architecture)" \
            ${stage:+--target "$stage"} -f "$file" -t "$name" . >&2
    fi
    echo "$name"
}

save() {
    name=$(image_name "$1")
    mkdir -p "$(dirname "$2")"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    if has_docker; then
        docker save --output "$scratch/image.tar" "$name"
    else
        buildah push --quiet --format docker "$name" "docker-archive:$scratch/image.tar:${name#localhost/}"
    fi
    gzip -6 <"$scratch/image.tar" >"$2.part"
    mv "$2.part" "$2"
    echo "$2"
}

export_root() {
    mkdir -p "$2/root"
    if has_docker; then
        container=$(docker create "$1")
        docker export "$container" | tar -x -C "$2/root"
        docker rm "$container" >/dev/null
        docker image inspect --format '{{json .Config}}' "$1" >"$2/image.json"
    else
        container=$(buildah from --pull-never "$1")
        cp -a "$(buildah mount "$container")/." "$2/root/"
        buildah rm "$container" >/dev/null
        buildah inspect --type image "$1" >"$2/image.json"
    fi
}

case ${1:-} in
name) image_name "$2" ;;
save) save "$2" "$3" ;;
build) build "$2" "$3" "${4:-}" ;;
export) export_root "$2" "$3" ;;
*) sed -n '2,6s/^# //p' "$0"; exit 2 ;;
esac
