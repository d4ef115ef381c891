#!/usr/bin/env bash
# Fails when the protos break those that others build against: main's, where this branch left it.
# On main itself the base is the last commit while the protos have changes, and the commit before it otherwise.
# Without such a base (a first commit, a shallow clone, no git) it says so and passes.
set -euo pipefail
cd "$(dirname "$0")/.."

pass() {
  echo "breaking changes: not checked: $1"
  exit 0
}

buf=.venv/bin/buf
[ -x "$buf" ] || buf=buf
commit() { git rev-parse --quiet --verify "$1^{commit}"; }

git rev-parse --git-dir >/dev/null || pass "git cannot read this checkout"
head=$(commit HEAD) || pass "nothing is committed yet"
main=$(commit refs/heads/main || commit refs/remotes/origin/main) || pass "there is no main branch here"
base=$(git merge-base "$head" "$main") || pass "main and this branch share no commit in this clone"
if [ "$base" = "$head" ] && [ -z "$(git status --porcelain -- protos)" ]; then
  base=$(commit HEAD~1) || pass "this clone has one commit only"
fi
[ -n "$(git ls-tree "$base" -- protos/)" ] || pass "${base:0:10} has no protos"

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
# Every module that buf.yaml names, also those of examples.
git archive "$base" -- buf.yaml '*.proto' | tar -x -C "$before"
"$buf" breaking --against "$before" || {
  echo "breaking changes against ${base:0:10}: see above" >&2
  exit 1
}
