# Makes a bare instance of the local cloud one that has what the agent installs on AWS, and the image registry.
# Runs once, as root, in a container of the bare one; the files beside this one are in /run/guest.
set -eu
export DEBIAN_FRONTEND=noninteractive

# No daemon starts while packages are installed, and Docker not before the agent has mounted the file system.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q update
apt-get -qy --no-install-recommends install \
    docker.io docker-cli docker-compose nfs-common chrony unattended-upgrades \
    ca-certificates curl iproute2 procps docker-registry
rm /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/*
systemctl disable docker.service docker.socket containerd.service docker-registry.service
install -m 644 /run/guest/registry.yml /etc/docker/registry/config.yml
