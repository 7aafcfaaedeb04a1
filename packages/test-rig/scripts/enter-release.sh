#!/bin/sh -e
# Runs a program inside another Debian release that lies under a directory. Meant to be started by `unshare --mount`:
# the mounts belong to this process alone and vanish with it.
root=$1
shared=$2
shift 2

mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared"
exec chroot "$root" "$@"
