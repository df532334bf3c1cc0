#!/usr/bin/env bash
# Installs the tools that check what is in deploy/, at pinned versions, and says how long each took. What is there already is left
# alone. Needs Python 3 with venv, Go 1.24 or newer, and apt (for Prometheus and amtool, of which the packages are only unpacked, and for
# what the image is made of).
# The folder can be kept between runs: $REDUCTRAI_DEPLOY_TOOLS. Used by test/deploy; without it those tests fail, they are never skipped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${REDUCTRAI_DEPLOY_TOOLS:-$here/../../../.cache/deploy-tools}
mkdir -p "$folder/bin" "$folder/schemas"
folder=$(cd "$folder" && pwd)

HELM=v3.19.5
KUSTOMIZE=v5.8.1
KUBECONFORM=v0.7.0
HCLFMT=v2.24.0
HEY=v0.1.5
# Only read from, for the schemas in them.
DOCKER_CLI=v29.9.3+incompatible
PROMETHEUS_OPERATOR=v0.85.0
GATEWAY_API=v1.4.1
KEDA=v2.17.3

# timed NAME COMMAND…
timed() {
  local name=$1 started
  started=$(date +%s)
  shift
  "$@"
  echo "$name: $(($(date +%s) - started)) s"
}

apt_install() { # PACKAGE
  apt-get install -y -qq "$1" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$1" >/dev/null; }
}

python_tools() {
  if cmp -s "$here/requirements.txt" "$folder/py/requirements.txt"; then return; fi
  rm -rf "$folder/py"
  if ! python3 -m venv "$folder/py" 2>/dev/null; then
    apt_install python3-venv
    python3 -m venv "$folder/py"
  fi
  "$folder/py/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
  local tool
  for tool in check-jsonschema hadolint shellcheck yamllint; do ln -sf "../py/bin/$tool" "$folder/bin/$tool"; done
  cp "$here/requirements.txt" "$folder/py/requirements.txt"
}

# Without optimisation, unless GCFLAGS says otherwise: they are compiled far more often than they work hard.
install_go() { # PACKAGE
  GOBIN="$folder/bin" go install -ldflags='-s -w' -gcflags="${GCFLAGS-all=-N -l}" "$1"
}

go_tool() { # NAME PACKAGE@VERSION
  local stamp="$folder/bin/.$1-${2##*@}"
  if [ -x "$folder/bin/$1" ] && [ -e "$stamp" ]; then return; fi
  timed "$1" install_go "$2"
  touch "$stamp"
}

# Our own, of which the library is pinned in its go.mod.
compose_config() {
  local stamp="$folder/bin/.compose-config"
  if cat "$here"/compose-config/{main.go,go.mod} | cmp -s - "$stamp"; then return; fi
  (cd "$here/compose-config" && timed compose-config install_go .)
  cat "$here"/compose-config/{main.go,go.mod} >"$stamp"
}

# Debian's packages, unpacked beside each other: nothing is started, and nothing of the machine changes.
debian_tools() {
  if [ -x "$folder/bin/prometheus" ] && [ -x "$folder/bin/promtool" ] && [ -x "$folder/bin/amtool" ]; then return; fi
  local packages
  packages=$(mktemp -d)
  chmod 755 "$packages"
  (
    cd "$packages"
    apt-get download -qq prometheus prometheus-alertmanager 2>/dev/null ||
      { apt-get update -qq && apt-get download -qq prometheus prometheus-alertmanager; }
    for package in *.deb; do dpkg-deb -x "$package" root; done
    cp root/usr/bin/prometheus root/usr/bin/promtool root/usr/bin/amtool "$folder/bin/"
  ) 2>/dev/null
  rm -rf "$packages"
}

# Checks units; it is on most machines, and small where it is not.
systemd_analyze() {
  command -v systemd-analyze >/dev/null || apt_install systemd
}

# The image's base as far as Debian gives it, with the packages that the Dockerfile's last stage installs as a source for apt in /packages:
# test/deploy/image.test.ts runs that stage in it, without a network. Documentation is left out as in Debian's slim images.
image_base() {
  local packages made="$folder/image/made-by" recipe
  packages=$(sed -n 's/^.*apt-get install -y --no-install-recommends \(.*\) \\$/\1/p' "$here/../../../Dockerfile" | tail -n 1)
  recipe="$packages, $(declare -f image_base)"
  if [ -e "$made" ] && [ "$(cat "$made")" = "$recipe" ]; then return; fi
  rm -rf "$folder/image"
  mkdir -p "$folder/image"
  command -v mmdebstrap >/dev/null || apt_install mmdebstrap
  # As Debian's images for Docker have it: what is not finished is made anew, so nothing waits for the disk.
  local options=(--dpkgopt=force-unsafe-io)
  for kind in doc man info locale; do options+=("--dpkgopt=path-exclude=/usr/share/$kind/*"); done
  # shellcheck disable=SC2016 # $1 is that of the hook: the root.
  mmdebstrap --quiet --variant=minbase "${options[@]}" \
    --customize-hook='mkdir -p "$1/packages/partial"' \
    --customize-hook="chroot \"\$1\" apt-get install -y -qq --no-install-recommends --download-only -o Dir::Cache::archives=/packages $packages" \
    --customize-hook='chroot "$1" sh -euc "cd /packages; for deb in *.deb; do dpkg-deb -f \$deb; echo Filename: ./\$deb; echo Size: \$(stat -c %s \$deb); echo SHA256: \$(sha256sum \$deb | cut -c 1-64); echo; done >Packages"' \
    bookworm "$folder/image/base.tar"
  echo "$recipe" >"$made"
}

# of MODULE@VERSION FILE… : copies files of a Go module into schemas/
of() {
  local module=$1 from
  shift
  local file missing=
  for file in "$@"; do [ -e "$folder/schemas/$(basename "$file")" ] || missing=yes; done
  if [ -z "$missing" ] && [ -e "$folder/schemas/.${module//\//_}" ]; then return; fi
  from=$(go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  for file in "$@"; do install -m 644 "$from/$file" "$folder/schemas/"; done
  install -m 644 "$from/LICENSE" "$folder/schemas/LICENSE.${module//\//_}"
  touch "$folder/schemas/.${module//\//_}"
}

# kubernetes_schemas VERSION…: those of kubernetes-validate as kubeconform reads them: they name each other by addresses, of which nothing
# can be fetched.
kubernetes_schemas() {
  local version
  for version in "$@"; do
    [ -e "$folder/schemas/kubernetes-$version/_definitions.json" ] && continue
    rm -rf "$folder/schemas/kubernetes-$version"
    "$folder/py/bin/python" - "$version" "$folder/schemas/kubernetes-$version" <<'PYTHON'
import json, pathlib, sys
import kubernetes_validate
schemas = pathlib.Path(kubernetes_validate.__file__).parent / 'kubernetes-json-schema' / f'v{sys.argv[1]}-local-strict'
made = pathlib.Path(sys.argv[2])
made.mkdir()
for file in sorted(schemas.glob('*.json'), reverse=True):
    schema = json.loads(file.read_text())
    schema.pop('$id', None)
    (made / file.name).write_text(json.dumps(schema).replace('"/api/_definitions.json', '"_definitions.json'))
PYTHON
  done
}

schemas() {
  local crds=example/prometheus-operator-crd/monitoring.coreos.com
  # The oldest that the chart takes, and the newest there are: test/deploy/support/kubernetes.ts.
  kubernetes_schemas 1.27.0 1.37.0
  of "github.com/docker/cli@$DOCKER_CLI" cli/compose/schema/data/config_schema_v3.13.json
  of "github.com/prometheus-operator/prometheus-operator@$PROMETHEUS_OPERATOR" ${crds}_servicemonitors.yaml ${crds}_prometheusrules.yaml
  of "sigs.k8s.io/gateway-api@$GATEWAY_API" config/crd/standard/gateway.networking.k8s.io_httproutes.yaml
  of "github.com/kedacore/keda/v2@$KEDA" config/crd/bases/keda.sh_scaledobjects.yaml
}

# What deploy/scripts need of a machine, or can make use of, as far as their tests run it.
script_tools() {
  command -v socat >/dev/null || apt_install socat
  command -v iptables >/dev/null || apt_install iptables
}

timed 'python tools' python_tools
timed 'prometheus, promtool, amtool' debian_tools
timed systemd-analyze systemd_analyze
timed 'base of the image' image_base
timed schemas schemas
go_tool kubeconform "github.com/yannh/kubeconform/cmd/kubeconform@$KUBECONFORM"
compose_config
# Shares the processors with what it loads.
GCFLAGS='' go_tool hey "github.com/rakyll/hey@$HEY"
go_tool hclfmt "github.com/hashicorp/hcl/v2/cmd/hclfmt@$HCLFMT"
go_tool kustomize "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE"
go_tool helm "helm.sh/helm/v3/cmd/helm@$HELM"
timed 'socat, iptables' script_tools
ls "$folder/bin"
