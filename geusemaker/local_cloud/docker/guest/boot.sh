#!/bin/sh
# The first process of an instance: makes its own control groups writable, and becomes systemd.
set -eu
/usr/bin/python3 -I /usr/local/lib/volumes.py plug $(cat /etc/geusemaker-volumes)
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -o remount,bind,rw /sys/fs/cgroup
    exec /lib/systemd/systemd
fi
for hierarchy in /sys/fs/cgroup/*; do
    if mountpoint -q "$hierarchy"; then mount -o remount,bind,rw "$hierarchy"; fi
done
# systemd 257 still runs on version 1 of control groups when it is told to, on what it takes for the kernel's command line.
exec /lib/systemd/systemd systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
