#!/bin/sh
# Outlives the test process by a moment: when that lets go of this script's standard input, at the end of a scope or
# because it died in whatever way, every process it was told to watch is killed and the directory removed.
directory=$1
trap '' HUP INT TERM

pids=
containers=
while read -r action subject; do
  case $action in
    watch) pids="$pids $subject" ;;
    forget)
      rest=
      for pid in $pids; do [ "$pid" = "$subject" ] || rest="$rest $pid"; done
      pids=$rest
      ;;
    container) containers="$containers $subject" ;;
  esac
done

[ -z "$containers" ] || docker rm --force --volumes $containers
[ -z "$pids" ] || kill -KILL $pids

# A dying node may still create a file, so removing its directory can need a second go.
attempts=0
until rm -rf "$directory" || [ "$attempts" -ge 50 ]; do
  attempts=$((attempts + 1))
  sleep 0.1
done
