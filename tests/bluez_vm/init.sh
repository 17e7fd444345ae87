#!/bin/busybox sh
# Process 1 of the guest: modules, the host's root read-only over 9p with a writable layer in memory, then start.sh.
bb=/bin/busybox
fail() {
    echo "guest: $1"
    $bb sleep 1
    $bb poweroff -f
}
. /guest.env
$bb mkdir -p /proc /sys /dev /lower /layer /root
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs dev /dev
while read -r module; do
    $bb insmod "/modules/$module" || echo "guest: module $module was not loaded"
done </modules.order
$bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /lower || fail "no root over 9p"
$bb mount -t tmpfs -o size=512m tmpfs /layer
$bb mkdir -p /layer/written /layer/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/layer/written,workdir=/layer/work overlay /root || fail "no overlay"
for folder in proc sys dev; do
    $bb mount --move "/$folder" "/root/$folder"
done
# Nothing of the host's running services or known Bluetooth devices may be seen.
$bb mount -t tmpfs tmpfs /root/run
$bb mkdir -p /root/run/dbus /root/run/out /root/var/lib/bluetooth /root/dev/shm
$bb mount -t tmpfs tmpfs /root/var/lib/bluetooth
$bb mount -t tmpfs tmpfs /root/dev/shm
$bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none out /root/run/out || fail "no folder for results"
$bb ip link set lo up
export PROJECT PYTHON PYCACHE BLUETOOTHD SCENARIOS
exec $bb switch_root /root /bin/sh "$PROJECT/tests/bluez_vm/start.sh"
