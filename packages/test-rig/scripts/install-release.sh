#!/bin/sh -eu
# Installs a Debian release with its RabbitMQ into a directory. Needs root and debootstrap.
target=$1
release=$2

mkdir -p "$(dirname "$target")"
exec 9>"$target.lock"
flock 9
[ ! -e "$target" ] || exit 0

# The mirror that this machine's own apt uses is the one that is known to be reachable.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 2>/dev/null | grep -m 1 '/debian/*$' || true)

work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
debootstrap --variant=minbase --include=rabbitmq-server "$release" "$work" ${mirror:+"$mirror"}
rm -rf "$work"/var/cache/apt/archives/*.deb

# Without it the node cannot resolve its own name.
cp /etc/hosts "$work/etc/hosts"

mv "$work" "$target"
trap - EXIT
