#!/usr/bin/env bash
# limited.sh MINUTES COMMAND...: run a command of tests. When it has not ended by then, tell which tests have not and where
# their threads stand, end it and fail: a test that hangs is found by its name, not by a machine that gives up.
set -euo pipefail
limit=$(($1 * 60))
shift

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# PID...: they and all that they started
family() {
  local pid
  for pid in "$@"; do
    echo "$pid"
    # shellcheck disable=SC2046
    family $(cat "/proc/$pid/task/"*/children 2>/dev/null || true)
  done
}

scene() { # scene PID...: where the threads of test processes stand
  local pid task
  for pid in "$@"; do
    case $(readlink "/proc/$pid/exe" 2>/dev/null) in */deps/*) ;; *) continue ;; esac
    if command -v gdb >/dev/null; then
      gdb --batch -p "$pid" -ex 'thread apply all backtrace 25' 2>/dev/null | grep -v '^\[New LWP' || true
    else
      for task in "/proc/$pid/task/"*; do echo "$(cat "$task/comm")  $(cat "$task/wchan" 2>/dev/null)"; done
    fi
  done
}

"$@" > >(tee "$log") 2>&1 &
command=$!
# Without this the tests would outlive an interrupted make: a shell's background commands ignore the keyboard.
trap 'mapfile -t all < <(family $command); kill -TERM "${all[@]}" 2>/dev/null || true; exit 130' INT TERM
end=$((SECONDS + limit))
while kill -0 $command 2>/dev/null; do
  if [ $SECONDS -ge $end ]; then
    mapfile -t all < <(family $command)
    scene "${all[@]}" | tail -n 400
    echo
    echo "not ended after $((limit / 60)) min; tests that began more than a minute ago and have not ended:"
    awk '/^test .* has been running/ {slow[$2]} /^test .* \.\.\. / {delete slow[$2]} END {for (test in slow) print "  " test}' "$log"
    kill -KILL "${all[@]}" 2>/dev/null || true
    exit 124
  fi
  sleep 1
done
wait $command
