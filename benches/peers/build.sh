#!/usr/bin/env bash
# The build from nothing of the same small application: with tower-oidc, and with axum-login and openidconnect put together by
# hand. Crates, CPU seconds and lines written. Takes minutes.
#
#   benches/peers/build.sh [profile ...]     dev and release
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
profiles=("$@")
[ $# -gt 0 ] || profiles=(dev release)
lines() { cat "$1"/src/*.rs | grep -Ecv '^ *(//|$)'; }

echo "| application | crates |$(printf ' CPU seconds, %s |' "${profiles[@]}") lines written |"
echo "|---|---|$(printf -- '---|%.0s' "${profiles[@]}")---|"
for package in by_layer by_hand; do
  cargo fetch --quiet --locked --manifest-path $package/Cargo.toml
  crates=$(cargo tree --locked --manifest-path $package/Cargo.toml -e normal,build --prefix none | cut -d' ' -f1,2 | sort -u | wc -l)
  row="| $package | $crates"
  for profile in "${profiles[@]}"; do
    TIMEFORMAT='%U %S'
    spent=$({ time cargo build --quiet --locked --offline --profile $profile --manifest-path $package/Cargo.toml \
      --target-dir "$work/$package-$profile" >&2; } 2>&1 | tail -1)
    row+=" | $(awk '{ printf "%.0f", $1 + $2 }' <<<"$spent")"
  done
  echo "$row | $(lines $package) |"
done
