# shellcheck shell=bash
# What the scripts of this folder share; to be sourced. Exit codes of all of them: 0 done, 1 failed, 64 a wrong option, 69 a program is
# missing; what a script adds to these stands in its --help. Needs bash 4.4, coreutils, sed, awk and curl; socat only for a HAProxy
# socket that is a file.

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dry_run=''
# Seconds for one HTTP request of a check.
: "${HTTP_SECONDS:=5}"

say() { printf '%s\n' "$*"; }

fail() { # WHY…
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

wrong() { # WHY…: an option that cannot be
  printf '%s: %s (see --help)\n' "${0##*/}" "$*" >&2
  exit 64
}

need() { # PROGRAM…
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null && continue
    printf '%s: %s is not installed\n' "${0##*/}" "$program" >&2
    exit 69
  done
}

whole_number() { # OPTION VALUE
  [[ $2 =~ ^[0-9]{1,9}$ ]] || wrong "$1 is a whole number, not '$2'"
}

quoted() { # COMMAND…: as it could be typed
  local words
  printf -v words ' %q' "$@"
  printf '%s' "${words# }"
}

# change COMMAND…: runs what changes something; with --dry-run it is only said.
change() {
  if [ -n "$dry_run" ]; then
    say "would run: $(quoted "$@")"
  else
    "$@"
  fi
}

# change_by_shell TEXT: the same for a command that was given as an option.
change_by_shell() {
  if [ -n "$dry_run" ]; then
    say "would run: $1"
  else
    bash -euo pipefail -c "$1"
  fi
}

# within SECONDS COMMAND…: again and again until it succeeds; fails once the time is over.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.5
  done
}

# list TEXT: what stands between commas, one in each line.
list() {
  tr ',' '\n' <<<"$1" | sed 's/^ *//; s/[ /]*$//; /^$/d'
}

# http_get URL: the body, whatever the status; fails where there is no answer.
http_get() {
  curl --silent --show-error --noproxy '*' --max-time "$HTTP_SECONDS" "$1" 2>/dev/null
}

# text_of NAME, number_of NAME: a member of a small JSON object on standard input; the first one of that name, or nothing.
text_of() { sed -n "/\"$1\": *\"/{s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p;q;}"; }
number_of() { sed -n "/\"$1\": *-\{0,1\}[0-9]/{s/.*\"$1\": *\(-\{0,1\}[0-9][0-9]*\).*/\1/p;q;}"; }

# metric NAME [TEXT]: a metric of the /metrics on standard input, summed over its labels, or over those lines that hold the text.
metric() {
  awk -v name="$1" -v text="${2-}" '
    (index($1, name "{") == 1 || $1 == name) && (text == "" || index($0, text)) { sum += $NF }
    END { printf "%d\n", sum }'
}

# look_at URL: sets health_state (ok, degraded, unavailable; unreachable without an answer of ours), health_version, health_uptime, health_storage.
# Only `ok` is a replica that is ready: it serves, its journal can be written and its store reached.
# shellcheck disable=SC2034 # for whoever sources this
look_at() {
  local body
  health_state=unreachable health_version=- health_uptime=- health_storage=-
  body=$(http_get "$1/health") || return 0
  health_state=$(text_of status <<<"$body")
  case $health_state in
    ok | degraded | unavailable) ;;
    *)
      health_state=unreachable
      return 0
      ;;
  esac
  health_version=$(text_of version <<<"$body")
  # It becomes part of commands.
  [[ $health_version =~ ^[A-Za-z0-9._+-]+$ ]] || health_version=-
  health_uptime=$(number_of uptime <<<"$body") health_storage=$(text_of storage <<<"$body")
}

is_healthy() { # URL
  look_at "$1"
  [ "$health_state" = ok ]
}

# haproxy_ask SOCKET COMMAND: the answer of HAProxy's runtime interface. The socket is a path (socat), or an address: ipv4@HOST:PORT.
haproxy_ask() {
  local socket=$1 command=$2 host
  case $socket in
    ipv4@* | ipv6@* | tcp@*)
      socket=${socket#*@}
      host=${socket%:*}
      # shellcheck disable=SC2016 # for the other shell
      timeout "$HTTP_SECONDS" bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf "%s\n" "$3" >&3 && cat <&3' _ "${host//[][]/}" "${socket##*:}" "$command" 2>/dev/null
      ;;
    *)
      need socat
      printf '%s\n' "$command" | socat -t "$HTTP_SECONDS" - "UNIX-CONNECT:$socket" 2>/dev/null
      ;;
  esac
}

# haproxy_servers SOCKET BACKEND: of each of its servers: name, state, sessions with those queued, last check.
haproxy_servers() {
  local table
  table=$(haproxy_ask "$1" 'show stat') || return 1
  awk -F, -v backend="$2" '
    /^# / { sub(/^# /, ""); for (i = 1; i <= NF; i++) at[$i] = i; next }
    $at["pxname"] == backend && $at["svname"] != "BACKEND" && $at["svname"] != "FRONTEND" {
      # "UP 1/3": on its way down; "no check": taken as up.
      status = $at["status"]; sub(/ .*/, "", status); if (status == "no") status = "UP"
      check = $at["check_status"]; if (check == "") check = "-"
      print $at["svname"], status, $at["scur"] + $at["qcur"], check
    }' <<<"$table"
}

# reductrai ARGS…: the product's own program: $REDUCTRAI, else that of this checkout, else what is on the PATH.
reductrai() {
  local words
  if [ -n "${REDUCTRAI:-}" ]; then
    read -ra words <<<"$REDUCTRAI"
  elif [ -x "$scripts/../../bin/reductrai" ]; then
    words=("$scripts/../../bin/reductrai")
  else
    words=(reductrai)
  fi
  "${words[@]}" "$@"
}

need curl sed awk timeout
