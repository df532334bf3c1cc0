#!/usr/bin/env bash
# Installs the servers that the store tests run against, and other readers of Parquet, at pinned versions, and says how long each took. What is there already
# is left alone. Needs Go 1.24 or newer, npm and Python 3 with venv; for HAProxy and Nginx Debian's packages, and to be root. The folder can be kept between runs: $REDUCTRAI_SERVERS.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${REDUCTRAI_SERVERS:-$here/../../.cache/servers}
mkdir -p "$folder/bin"
folder=$(cd "$folder" && pwd)

VERSITYGW=v1.8.0
FAKE_GCS_SERVER=v1.56.1

# timed NAME COMMAND…
timed() {
  local name=$1 started
  started=$(date +%s)
  shift
  "$@"
  echo "$name: $(($(date +%s) - started)) s"
}

go_tool() { # NAME MODULE@VERSION
  local stamp="$folder/bin/.$1-${2##*@}"
  if [ -x "$folder/bin/$1" ] && [ -e "$stamp" ]; then return; fi
  # Without optimisation: they are compiled far more often than they work hard.
  GOBIN="$folder/bin" timed "$1" go install -ldflags='-s -w' -gcflags='all=-N -l' "$2"
  touch "$stamp"
}

azurite() {
  if cmp -s "$here/azurite/package-lock.json" "$folder/azurite/package-lock.json" && [ -e "$folder/azurite/.installed" ]; then return; fi
  rm -rf "$folder/azurite"
  mkdir -p "$folder/azurite"
  cp "$here/azurite/package.json" "$here/azurite/package-lock.json" "$folder/azurite/"
  (cd "$folder/azurite" && timed azurite npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  touch "$folder/azurite/.installed"
}

balancers() {
  if command -v haproxy >/dev/null && command -v nginx >/dev/null; then return; fi
  local started
  started=$(date +%s)
  if apt-get install -y -qq haproxy nginx-light >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq haproxy nginx-light; } >/dev/null 2>&1; then
    echo "balancers: $(($(date +%s) - started)) s"
  else
    echo "haproxy and nginx could not be installed: their test is left out by name"
  fi
}

readers() {
  if cmp -s "$here/readers.txt" "$folder/readers/.installed"; then return; fi
  rm -rf "$folder/readers"
  if ! python3 -m venv "$folder/readers" >/dev/null 2>&1; then
    { apt-get update -qq && apt-get install -y -qq python3-venv; } >/dev/null 2>&1
    python3 -m venv "$folder/readers"
  fi
  timed readers "$folder/readers/bin/pip" install -q --disable-pip-version-check -r "$here/readers.txt"
  cp "$here/readers.txt" "$folder/readers/.installed"
}

balancers
azurite
readers
go_tool versitygw "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW"
go_tool fake-gcs-server "github.com/fsouza/fake-gcs-server@$FAKE_GCS_SERVER"
ls "$folder/bin"
