#!/usr/bin/env bash
# Builds kube-apiserver from the Go proxy into Go's folder of programs: `make kube-apiserver`. No registry has it as a
# program, and `go install` refuses a module that replaces others, as k8s.io/kubernetes replaces its parts by folders of
# its own repository: here they are replaced by the same parts as modules.
set -euo pipefail
version=${1:-1.34.4}
minor=$(cut -d. -f2 <<<"$version")
to=$(go env GOPATH)/bin/kube-apiserver
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Not a symbol more than the server needs, no C, and two compilers: one may take a GB.
export GOFLAGS="-mod=mod -buildvcs=false -p=${JOBS:-2}" CGO_ENABLED=0 GOWORK=off
go mod init weft.dev/kube-apiserver 2>/dev/null
theirs=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
{
  echo "module weft.dev/kube-apiserver"
  grep -E '^(go|godebug) ' "$theirs"
  echo "require k8s.io/kubernetes v$version"
  sed -n "s|^\t\(k8s.io/[a-z-]*\) => ./staging/.*|replace \1 => \1 v0.${version#1.}|p" "$theirs"
} >go.mod
cat >program.go <<END
package main

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
END

about=k8s.io/component-base/version
go build -trimpath -o "$to" -ldflags "-s -w -X $about.gitVersion=v$version -X $about.gitMajor=1 -X $about.gitMinor=$minor" \
  k8s.io/kubernetes/cmd/kube-apiserver
echo "$to: $("$to" --version)"
