# Functions that `up` and `down` share. Sourced, not run; expects LAB to be set.

fail() { echo "cluster: $*" >&2; exit 1; }

# alive PIDFILE NAME: is the process in PIDFILE the program NAME, and started for this LAB (not a later process with the same number)?
alive() {
  local pid
  [ -s "$1" ] || return 1
  pid=$(cat "$1" 2>/dev/null)
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || return 1
  grep -q '^State:.Z' "/proc/$pid/status" && return 1
  grep -qaF "$LAB/" "/proc/$pid/cmdline" "/proc/$pid/environ" 2>/dev/null
}

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds, or fail naming WHAT.
wait_for() {
  local tries=$(($1 * 20)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail "gave up waiting for $what (logs are in $LAB/log)"
    sleep 0.05
  done
}

# port_open PORT [ADDRESS]: does something listen there?
port_open() { (exec 3<>"/dev/tcp/${2:-127.0.0.1}/$1") 2>/dev/null; }

# stop PIDFILE NAME: end exactly that process; politely for ten seconds, then by force.
stop() {
  local pid tries=200
  if alive "$1" "$2"; then
    pid=$(cat "$1" 2>/dev/null)
    kill "$pid"
    while alive "$1" "$2" && [ $tries -gt 0 ]; do sleep 0.05; tries=$((tries - 1)); done
    if alive "$1" "$2"; then kill -9 "$pid"; echo "stopped $2 ($pid) by force"; else echo "stopped $2 ($pid)"; fi
  fi
  rm -f "$1"
}
