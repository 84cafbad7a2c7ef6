# shellcheck shell=bash
# What the scripts share: talking, installing, finding our traces. Sourced, never run.
#
# Everything that a script installs or makes is said in a line. Nothing here sleeps or guesses: it waits for an event or fails.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=$ROOT/target/tools
export PATH="$TOOLS:$HOME/.cargo/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '%s\n' "$*"; }
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Seconds with two digits since the script began, or since the time given (a value of `now`).
now() { printf '%s' "$EPOCHREALTIME"; }
since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.2f", to - from }'; }

# Runs the script again as root where it is not: everything here makes namespaces, mounts and bridges.
as_root() {
  [ "$(id -u)" = 0 ] && return
  have sudo || die "this needs root (or sudo)"
  exec sudo --preserve-env=PATH,CARGO_HOME,RUSTUP_HOME,HOME -- "$0" "$@"
}

# Installs Debian packages that are not there yet, saying which.
packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  have apt-get || die "please install: ${missing[*]}"
  say "installing from Debian: ${missing[*]}"
  if ! apt_get install "${missing[@]}" 2>/dev/null; then
    apt_get update || say "warning: the package lists could not be brought up to date"
    apt_get install "${missing[@]}" || die "could not install ${missing[*]}"
  fi
}

apt_get() {
  local verb=$1
  shift
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends "$verb" "$@" </dev/null >/dev/null
}

# The Debian mirror that this machine is set up with.
debian_mirror() {
  local mirror
  mirror=$(awk '/^URIs:/ { for (i = 2; i <= NF; i++) print $i }
                /^deb[[:space:]]/ { for (i = 2; i <= NF; i++) if ($i ~ /^http/) print $i }' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2>/dev/null |
    grep -E '/debian/?$' | head -n 1 || true)
  printf '%s' "${mirror:-http://deb.debian.org/debian}"
}

# Debian's name of this release (bookworm), or of the oldest that the scripts were tried with.
debian_release() {
  # shellcheck disable=SC1091
  (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-bookworm}")
}

# etcd from PATH, or Debian's, into our tools: its package would start a server of its own.
etcd_server() {
  if have etcd; then return; fi
  have apt-get || die "please install: etcd"
  say "fetching Debian's etcd-server into $TOOLS"
  local dir
  dir=$(mktemp -d)
  chmod 755 "$dir"
  if ! (cd "$dir" && apt-get -qq download etcd-server >/dev/null 2>&1); then
    apt_get update || say "warning: the package lists could not be brought up to date"
    (cd "$dir" && apt-get -qq download etcd-server >/dev/null 2>&1) || die "could not fetch etcd-server"
  fi
  dpkg-deb -x "$dir"/etcd-server_*.deb "$dir/root"
  mkdir -p "$TOOLS"
  install -m 755 "$dir/root/usr/bin/etcd" "$TOOLS/etcd"
  rm -rf "$dir"
}

# The Rust toolchain that rust-toolchain.toml names; by rustup's own installer where there is none.
rust() {
  packages gcc libc6-dev ca-certificates curl
  if ! have rustup && ! have cargo; then
    say "installing Rust by rustup's installer (https://rustup.rs), into $HOME/.cargo and $HOME/.rustup"
    local from dir
    from=https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu
    dir=$(mktemp -d)
    curl --proto '=https' --tlsv1.2 -sSf --retry 3 -o "$dir/rustup-init" "$from/rustup-init" || die "rustup's installer cannot be fetched"
    [ "$(sha256sum <"$dir/rustup-init" | cut -d' ' -f1)" = "$(curl -sSf --retry 3 "$from/rustup-init.sha256" | cut -d' ' -f1)" ] ||
      die "rustup's installer is not what its checksum says"
    chmod 755 "$dir/rustup-init"
    "$dir/rustup-init" -y -q --profile minimal --default-toolchain none --no-modify-path </dev/null || die "rustup's installer failed"
    rm -rf "$dir"
  fi
  if have rustup && ! (cd "$ROOT" && cargo --version && cargo fmt --version && cargo clippy --version) >/dev/null 2>&1; then
    say "installing the toolchain that rust-toolchain.toml names"
    (cd "$ROOT" && rustup toolchain install) >/dev/null || die "the toolchain could not be installed"
  fi
}

# The official docker command line; taken out of Debian's package without installing a daemon beside it.
docker_cli() {
  have docker && return
  local package dir
  dir=$(mktemp -d)
  chmod 755 "$dir"
  for package in docker-cli docker.io; do
    (cd "$dir" && apt-get -qq download "$package" >/dev/null 2>&1) || continue
    mkdir -p "$TOOLS"
    if dpkg-deb --fsys-tarfile "$dir"/*.deb | tar -xO ./usr/bin/docker >"$TOOLS/docker" 2>/dev/null && [ -s "$TOOLS/docker" ]; then
      chmod 755 "$TOOLS/docker"
      say "took the docker command line out of Debian's package $package (into target/tools)"
      rm -rf "$dir"
      return
    fi
    rm -f "$TOOLS/docker" "$dir"/*.deb
  done
  rm -rf "$dir"
  die "no docker command line: neither here nor in Debian's packages"
}

# The official docker compose, out of Debian unstable's package, into target/tools. Where it cannot be had, stories go without.
docker_compose() {
  local dir=$TOOLS/cli-plugins mirror file
  [ ! -x "$dir/docker-compose" ] || return 0
  mirror=$(debian_mirror)
  file=$(curl -sSf -m 120 "$mirror/dists/sid/main/binary-$(dpkg --print-architecture)/Packages.xz" 2>/dev/null | xz -dc 2>/dev/null |
    awk '$1 == "Package:" { found = $2 == "docker-compose" } found && $1 == "Filename:" { print $2 }') || true
  [ -n "$file" ] || { say "warning: no docker compose to take turns with: Debian's mirror has none" && return; }
  mkdir -p "$dir"
  if curl -sSf -m 300 -o "$dir/package.deb" "$mirror/$file" &&
    dpkg-deb --fsys-tarfile "$dir/package.deb" | tar -xO ./usr/libexec/docker/cli-plugins/docker-compose >"$dir/docker-compose"; then
    chmod 755 "$dir/docker-compose"
    say "took docker compose out of Debian's ${file##*/} (into target/tools)"
  fi
  rm -f "$dir/package.deb"
}

# What a daemon of ours may leave on a machine, one line each: processes, mounts, network namespaces, links, firewall
# tables, cgroups. Empty where nothing of ours is.
leftovers() {
  local dir words
  for dir in /proc/[0-9]*; do
    # Dead ones have no words; a shim says its name itself, since its program has no path.
    words=$(tr '\0' ' ' 2>/dev/null <"$dir/cmdline") || continue
    case ${words%% *} in minke-shim | minke | */minke) say "process ${dir#/proc/} $words" ;; esac
  done
  awk '$1 ~ /minke/ || $2 ~ /minke/ { print "mount " $2 }' /proc/self/mounts | grep -vE " $ROOT\$" || true
  find /run/netns -maxdepth 1 -name '*minke*' -printf 'network namespace %f\n' 2>/dev/null || true
  if have ip; then ip -o link show 2>/dev/null | awk -F': ' '$2 ~ /^(minke|mk|br-|veth)/ { print "link " $2 }'; fi
  if have nft; then nft list tables 2>/dev/null | awk '/minke/ { print "nftables " $2 " " $3 }'; fi
  find /sys/fs/cgroup -maxdepth 3 -type d -name 'minke-*' -printf 'cgroup %p\n' 2>/dev/null || true
}

# Waits until the daemon whose log this is says that it is ready; fails when it ends before. `tail` wakes by inotify.
daemon_ready() {
  local log=$1 pid=$2
  if grep -q -m1 'ready' < <(tail -n +1 -F --pid="$pid" "$log" 2>/dev/null) && kill -0 "$pid" 2>/dev/null; then
    return
  fi
  tail -n 20 "$log" >&2
  die "the daemon did not become ready"
}
