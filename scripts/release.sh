#!/usr/bin/env bash
# Tags the commit that is checked out as version VERSION, and pushes nothing: scripts/release.sh 1.2.3
set -euo pipefail
cd "$(dirname "$0")/.."
fail() {
  echo "release: $*" >&2
  exit 2
}

version=${1:-}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "'$version' is no version: give one, as in make release VERSION=1.2.3"
tag=v$version
here=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' nwt_jax/__init__.py)
[ "$here" = "$version" ] || fail "nwt_jax/__init__.py says $here: write __version__ = \"$version\" there and commit it"
if [ -e CHANGELOG.md ]; then
  grep -qE "^## +\[?v?${version//./\\.}(\]|[^0-9.]|$)" CHANGELOG.md || fail "CHANGELOG.md has no entry '## $version': write one and commit it"
fi
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed: commit them, or put them aside"
if git rev-parse -q --verify "refs/tags/$tag" >/dev/null; then
  fail "there is a tag $tag already: raise the version"
fi
git tag -a "$tag" -m "nwt_jax $version"
echo "Tagged $(git rev-parse --short HEAD) as $tag. To publish it: git push origin $tag"
