#!/usr/bin/env bash
# Installs what the tests need, then checks and tests everything. Wants Debian and cargo.
#
# What is installed already stays as it is, so that a second run starts at once. Plain `cargo test` works
# without any of it and names the tests that it skips.
#
# `tests/run.sh lines` counts the lines of code of `src` and does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

# The lines of code of `src`: no comments, no blanks, no unit tests.
lines() {
  find src -name '*.rs' ! -name tests.rs -print0 | xargs -0 awk '
    FNR == 1 { tests = 0 }
    /^#\[cfg\(test\)\]/ { tests = 1 }
    /^}/ { if (tests) tests = 2 }
    tests == 1 || /^ *\/\// || /^ *$/ { next }
    { count++ }
    END { print count }'
}
case "${1:-}" in
  '') ;;
  lines) lines; exit ;;
  *) echo "tests/run.sh: there is no part '$1': it takes nothing, or 'lines'" >&2; exit 2 ;;
esac

# Each section is named, with the time it took.
section=
finish_section() {
  [ -z "$section" ] || echo "---- $section: $((SECONDS - section_began)) s"
  section=
}
begin() {
  finish_section
  section=$1 section_began=$SECONDS
  echo "==== $section"
}
on_exit() {
  local status=$?
  if [ "$status" -eq 0 ]; then
    finish_section
    echo "==== everything passed in $SECONDS s"
  else
    echo "==== FAILED: ${section:-start}, after $SECONDS s" >&2
  fi
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

begin 'what the tests need'
packages=()
have() { command -v "$1" >/dev/null; }
have chromium || packages+=(chromium)
have chromedriver || packages+=(chromium-driver)
have node || packages+=(nodejs)
have npm || packages+=(npm)
have redis-server || packages+=(redis-server)
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages+=(postgresql)
have nginx || packages+=(nginx-light)
if [ ${#packages[@]} -gt 0 ]; then
  # The tests start servers of their own: those of the packages stay down, and PostgreSQL makes no cluster.
  keep_down=/usr/sbin/policy-rc.d
  if [ -e "$keep_down" ]; then keep_down=; else printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$keep_down"; fi
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    echo 'create_main_cluster = false' | as_root install -D -m 644 /dev/stdin /etc/postgresql-common/createcluster.conf
  fi
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confold "${packages[@]}" || failed=1
  [ -z "$keep_down" ] || as_root rm -f "$keep_down"
  [ -z "${failed:-}" ] || exit 1
fi
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

# The Node.js of Debian 12 is too old for the provider; npm has a newer one.
npm_packages=(oidc-provider@9.13.3)
node -e 'process.exit(URL.parse ? 0 : 1)' || npm_packages+=(node@22)
npm_dir=$PWD/target/npm
if [ "$(cat "$npm_dir/installed" 2>/dev/null)" != "${npm_packages[*]}" ]; then
  rm -rf "$npm_dir"
  mkdir -p "$npm_dir"
  npm install --prefix "$npm_dir" --no-save --no-package-lock --no-audit --no-fund "${npm_packages[@]}"
  echo "${npm_packages[*]}" >"$npm_dir/installed"
fi
export PATH="$npm_dir/node_modules/node/bin:$PATH"

begin 'format'
cargo fmt --check

begin 'clippy'
cargo clippy --all-targets --all-features -- -D warnings

begin 'each feature alone'
features=$(awk '/^\[/ { in_features = $0 == "[features]" } in_features && /^[A-Za-z0-9_-]+ *=/ { print $1 }' Cargo.toml)
cargo clippy --no-default-features -- -D warnings
for feature in $features; do
  echo "$feature"
  cargo clippy --no-default-features --features "$feature" -- -D warnings
done
cargo clippy --all-features -- -D warnings

begin 'documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --all-features

begin 'examples'
cargo build --examples --all-features

begin 'tests'
TOWER_OIDC_NODE_MODULES=$npm_dir/node_modules TOWER_OIDC_CHROMIUM=1 TOWER_OIDC_NGINX=1 TOWER_OIDC_REQUIRE_ALL=1 \
  cargo test --all-features

# What makes no world of its own has no store to choose. (What runs a provider, a browser or a proxy as a process is
# always among it: `house` sees to that.)
without_a_world=()
for module in chromium demo durability house deployment providers::real real_connections real_provider \
  refresh::model stateless::processes stores support ui; do
  without_a_world+=(--skip "$module::")
done
for store in sqlite postgres redis; do
  begin "scenarios on $store"
  TOWER_OIDC_TEST_STORE=$store TOWER_OIDC_REQUIRE_ALL=1 \
    cargo test --all-features --test it -- "${without_a_world[@]}"
done
