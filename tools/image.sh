#!/usr/bin/env bash
# image.sh: write an image FROM scratch as a docker archive with nothing but tar: no daemon, no registry, the same bytes each time.
#   image.sh --ref REF --binary FILE... [--file SOURCE=PATH]... [--env NAME=VALUE]... [--user UID] OUT.tar
# The first binary is the entrypoint. Binaries go to /, with the shared libraries they need where their loader looks.
set -euo pipefail

ref='' user=65532 envs=() binaries=() files=()
while [ $# -gt 1 ]; do
  case $1 in
    --ref) ref=$2 ;;
    --binary) binaries+=("$2") ;;
    --file) files+=("$2") ;;
    --env) envs+=("$2") ;;
    --user) user=$2 ;;
    *) echo "image.sh: unknown option '$1'; known are --ref --binary --file --env --user" >&2; exit 1 ;;
  esac
  shift 2
done
[ $# = 1 ] && [ -n "$ref" ] && [ ${#binaries[@]} -gt 0 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 1; }
out=$1

case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) arch=$(uname -m) ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root" "$work/image"

put() { # put SOURCE PATH: into the image
  mkdir -p "$work/root$(dirname "$2")"
  cp -fL --reflink=auto "$1" "$work/root$2" # a hard link would change under another run's tar
}
for binary in "${binaries[@]}"; do
  put "$binary" "/$(basename "$binary")"
  # ldd prints "name => /path (address)", or "/loader (address)"; a static binary has neither
  for library in $(ldd "$binary" 2>/dev/null | grep -o '/[^ ]*' || true); do put "$library" "$library"; done
done
for file in "${files[@]}"; do put "${file%%=*}" "${file#*=}"; done

pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=a+rX,go-w --hard-dereference -C "$1" -cf "$2" "${@:3}"; }
json() { printf '%s\n' "$@" | sed 's/[\\"]/\\&/g; s/.*/"&"/' | paste -sd,; }

pack "$work/root" "$work/image/layer.tar" .
layer=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
cat >"$work/image/config.json" <<JSON
{"architecture":"$arch","os":"linux","created":"1970-01-01T00:00:00Z",
"config":{"Entrypoint":["/$(basename "${binaries[0]}")"],"Env":[$(json "PATH=/" "${envs[@]}")],"User":"$user:$user","WorkingDir":"/"},
"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"tools/image.sh"}]}
JSON
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$ref" >"$work/image/manifest.json"
pack "$work/image" "$work/out.tar" manifest.json config.json layer.tar
mv "$work/out.tar" "$out"
