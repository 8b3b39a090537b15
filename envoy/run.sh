#!/usr/bin/env bash
# Runs Envoy and ends it gracefully: on SIGTERM it is unhealthy at once, so that a load balancer looks elsewhere; then
# its connections are drained; then it exits. Give it more time than the sum before it is killed.
#
#   run.sh envoy -c envoy.yaml --drain-time-s 20 ...
#
# From the environment: ADMIN_PORT (9901), UNHEALTHY_SECONDS (5: until every load balancer has noticed), DRAIN_SECONDS
# (20: as --drain-time-s). bash alone does it: Envoy's image has no curl.
set -u

admin() {
  exec 3<> "/dev/tcp/127.0.0.1/${ADMIN_PORT:-9901}" || return
  printf 'POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n' "$1" >&3
  cat <&3 > /dev/null
  exec 3>&-
}

end() {
  trap '' TERM INT
  admin /healthcheck/fail
  sleep "${UNHEALTHY_SECONDS:-5}"
  admin '/drain_listeners?graceful'
  sleep "${DRAIN_SECONDS:-20}"
  kill -TERM "$envoy"
}

"$@" &
envoy=$!
trap end TERM INT
# The first wait ends when the signal comes, the second when Envoy does.
wait "$envoy"
code=$?
while kill -0 "$envoy" 2> /dev/null; do
  wait "$envoy"
  code=$?
done
exit "$code"
