#!/bin/sh
# Installs the gateway of this folder on Debian 12 (or Raspberry Pi OS bookworm), without a network and a compiler.
# Again with another version: an upgrade, or the way back. Data and settings stay. As root:  ./install.sh
#
#   /opt/gateway-bridge/releases/VERSION   the program; "current" names the one in use
#   /etc/gateway-bridge/gateway.toml       settings, yours; gateway.toml.dist beside it is this version's
#   /var/lib/gateway-bridge                the data
#   /etc/systemd/system/gateway.service    the unit; local changes: systemctl edit gateway
set -eu
cd "$(dirname "$0")"
version=$(cat VERSION)
architecture=$(cat ARCHITECTURE)
home=/opt/gateway-bridge
user=gateway-bridge
data=/var/lib/gateway-bridge
python=${PYTHON:-/usr/bin/python3}

stop() { echo "install.sh: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || stop "must run as root (sudo ./install.sh)"
case "$(dpkg --print-architecture)" in
amd64) mine=x86_64 ;; arm64) mine=aarch64 ;; armhf) mine=armv7l ;; *) mine=$(uname -m) ;;
esac
[ "$mine" = "$architecture" ] || stop "this bundle is for $architecture, this system is $mine"
sha256sum --check --quiet SHA256SUMS || stop "the bundle is damaged: copy it here again"

# Debian's own packages, where a bundle brings some: only what is missing, so that newer ones stay.
missing=""
for deb in ./debs/*.deb; do
    [ -e "$deb" ] || continue
    name=$(dpkg-deb --field "$deb" Package)
    dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -q '^installed$' || missing="$missing $deb"
done
# shellcheck disable=SC2086
[ -z "$missing" ] || DEBIAN_FRONTEND=noninteractive apt-get -qq --yes --no-install-recommends \
    -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null install $missing >/dev/null ||
    stop "Debian's packages do not fit this system: is it Debian 12 (bookworm)?"

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
    stop "Python 3.11 is needed (Debian 12, Raspberry Pi OS bookworm): apt-get install python3"

getent passwd "$user" >/dev/null || useradd --system --user-group --home-dir "$data" --shell /usr/sbin/nologin "$user"
install -d -o "$user" -g "$user" -m 0750 "$data"
install -d -o root -g "$user" -m 0750 /etc/gateway-bridge

# The whole of it beside the old one, which goes on serving meanwhile.
mkdir -p "$home/releases"
number=1
while [ -e "$home/releases/$version-$number" ]; do number=$((number + 1)); done
name=$version-$number
release=$home/releases/$name
# --system-site-packages: NumPy and Pillow are Debian's on armv7l. pip runs from its wheel, and stays out.
site=""
[ "$architecture" != armv7l ] || site=--system-site-packages
# shellcheck disable=SC2086
"$python" -m venv --without-pip $site "$release"
"$python" "$(echo pip/pip-*.whl)/pip" --python "$release/bin/python" --disable-pip-version-check \
    install --quiet --no-index --no-deps wheels/*.whl || { rm -rf "$release"; stop "the wheels do not install"; }
give_up() { rm -rf "$release"; stop "$*"; }

install -o root -g "$user" -m 0640 config/gateway.toml /etc/gateway-bridge/gateway.toml.dist
[ -e /etc/gateway-bridge/gateway.toml ] || cp -p /etc/gateway-bridge/gateway.toml.dist /etc/gateway-bridge/gateway.toml
cp -R config/models /etc/gateway-bridge/
chown -R "root:$user" /etc/gateway-bridge/models
chmod -R u=rwX,g=rX,o= /etc/gateway-bridge/models

as_user() { runuser -u "$user" -- env STATE_DIRECTORY="$data" GATEWAY_CONFIG=/etc/gateway-bridge/gateway.toml "$@"; }
said=$(as_user "$release/bin/gateway" check 2>&1) || {
    echo "$said" >&2
    give_up "version $version does not take the settings (above); what ran before still runs"
}
if [ -e "$data/outbox.db" ]; then
    said=$(as_user "$release/bin/gateway" outbox stats 2>&1) || case $said in
    *"newer version"*)
        echo "$said" >&2
        give_up "the data is of a newer version than $version; what ran before still runs. INSTALL.md, \"The way back\"" ;;
    esac
fi

ln -sfn "releases/$name" "$home/current.new"
mv -T "$home/current.new" "$home/current"
ln -sfn current/bin "$home/bin"
ln -sf "$home/bin/gateway" /usr/local/bin/gateway
install -D -m 0644 config/gateway.service /etc/systemd/system/gateway.service

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --quiet gateway
    systemctl restart gateway
    echo "gateway $version is installed and runs: systemctl status gateway"
else
    echo "gateway $version is installed; there is no systemd here to start it"
fi
for old in "$home"/releases/*; do
    [ "$old" = "$release" ] || rm -rf "$old"
done
