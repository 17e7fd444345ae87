#!/bin/busybox sh
# Runs first in the guest, in its initial RAM disk: modules, the disk as root, then systemd as process 1.
bb=/bin/busybox
fail() {
    echo "guest: $1"
    $bb sleep 1
    $bb poweroff -f
}
$bb mkdir -p /proc /sys /dev /root
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs dev /dev
while read -r module; do
    $bb insmod "/modules/$module" || echo "guest: module $module was not loaded"
done </modules.order
# The kernel plays ext4's journal back here, after a power cut.
$bb mount -t ext4 /dev/vda /root || fail "no root on /dev/vda"
for folder in proc sys dev; do
    $bb mount --move "/$folder" "/root/$folder"
done
exec $bb switch_root /root /sbin/init
