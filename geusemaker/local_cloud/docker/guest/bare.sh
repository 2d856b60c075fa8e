# Makes Debian's minimal system a bare instance of the local cloud: systemd, sshd, Python and the login of Debian's AMI.
# Runs once, as root, in a container of that system; the files beside this one are in /run/guest.
set -eu
export DEBIAN_FRONTEND=noninteractive

# No daemon starts while packages are installed.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q update
# bindfs stands in for EFS and EBS: Debian's AMI has a kernel's own clients.
apt-get -qy --no-install-recommends install systemd-sysv dbus openssh-server sudo python3 bindfs
rm /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/*
# They need a kernel, devices or a console of their own.
systemctl mask run-rpc_pipefs.mount nfs-blkmap.service rpc-gssd.service rpcbind.service rpcbind.socket \
    getty.target console-getty.service systemd-udevd.service e2scrub_reap.service
systemctl set-default multi-user.target

# The login of Debian's AMI. Keys come with each instance's user data.
useradd --create-home --uid 1000 --shell /bin/bash admin
install -d -o admin -g admin -m 700 /home/admin/.ssh
echo 'admin ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-cloud-init-users
rm -f /etc/ssh/ssh_host_*
: > /etc/machine-id

# Docker 26 refuses to start where /proc/sys cannot be written, as in a container, unless it is told this.
install -d /etc/systemd/system/docker.service.d
printf '[Service]\nEnvironment=DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE=1\n' \
    > /etc/systemd/system/docker.service.d/10-container.conf

# Also where nfs-common comes later.
dpkg-divert --add --rename --divert /usr/sbin/mount.nfs4.real /usr/sbin/mount.nfs4
install -m 755 /run/guest/mount_helper.py /usr/sbin/mount.nfs4
install -m 755 /run/guest/mount_helper.py /usr/sbin/mount.ext4
install -m 644 /run/guest/volumes.py /usr/local/lib/volumes.py
for name in blkid blockdev mkfs.ext4 resize2fs; do
    printf '#!/bin/sh\nexec /usr/bin/python3 -I /usr/local/lib/volumes.py %s "$@"\n' $name > /usr/local/sbin/$name
    chmod 755 /usr/local/sbin/$name
done
install -m 755 /run/guest/boot.sh /usr/local/sbin/boot
