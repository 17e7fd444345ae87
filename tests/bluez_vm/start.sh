#!/bin/sh
# Process 1 of the guest once the host's root is there: run the scenarios, then switch off.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root LC_ALL=C.UTF-8 PYTHONPYCACHEPREFIX="$PYCACHE"
stty -F /dev/ttyS1 raw -echo
cd "$PROJECT" || echo "guest: no folder $PROJECT"
"$PYTHON" -m tests.bluez_vm.guest
echo "guest: scenarios ended with $?"
busybox poweroff -f
