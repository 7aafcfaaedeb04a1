#!/bin/sh -eu
# Unpacks RabbitMQ and Erlang from this distribution's own packages into a directory, without root and without
# touching what is installed: apt works on lists and archives of its own.
target=$1

mkdir -p "$(dirname "$target")"
exec 9>"$target.lock"
flock 9
[ ! -e "$target" ] || exit 0

work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root" "$work/packages"

private_apt() {
  tool=$1
  shift
  "$tool" -q \
    -o Dir::State::lists="$work/lists" \
    -o Dir::Cache="$work/cache" \
    -o Debug::NoLocking=true \
    -o APT::Sandbox::User="$(id -un)" \
    -o Acquire::Retries=1 \
    -o Acquire::http::Timeout=10 \
    "$@"
}

private_apt apt-get update
erlang=$(private_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
  --no-replaces --no-enhances rabbitmq-server | grep -E '^erlang-' | sort -u)

cd "$work/packages"
private_apt apt-get download rabbitmq-server $erlang
for package in *.deb; do
  dpkg -x "$package" "$work/root"
done

# Erlang's start scripts hold the place where the package would have been installed.
erlang_root=$target/usr/lib/erlang
for starter in "$work"/root/usr/lib/erlang/bin/erl "$work"/root/usr/lib/erlang/bin/start \
  "$work"/root/usr/lib/erlang/erts-*/bin/erl "$work"/root/usr/lib/erlang/erts-*/bin/start; do
  [ ! -f "$starter" ] || sed -i "s|ROOTDIR=/usr/lib/erlang|ROOTDIR=\"$erlang_root\"|" "$starter"
done

mv "$work/root" "$target"
