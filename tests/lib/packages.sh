# shellcheck shell=bash
# What docs/demo, tests/run and tests/soak need of the system, and how to get it.
# Sourced; sets nothing but functions.  Root is asked for only when something is missing,
# and after naming it.

# has PROBE: "cmd:NAME" a program, "pc:MODULE" a pkg-config module, "file:GLOB" a file.
has() {
    case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null ;;
    pc:*) pkg-config --exists "${1#pc:}" 2>/dev/null ;;
    file:*) compgen -G "${1#file:}" >/dev/null ;;
    esac
}

# missing_packages PROBE=PACKAGE...: prints the packages whose probe fails.
missing_packages() {
    local row
    for row in "$@"; do
        has "${row%%=*}" || echo "${row#*=}"
    done | sort -u
}

# install_packages PACKAGE...: by apt-get, through sudo unless we are root.
install_packages() {
    local as_root=() apt=(apt-get -q -y --no-install-recommends install)
    if ! command -v apt-get >/dev/null; then
        echo "missing, and there is no apt-get to install it with: $*" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "missing, and there is no sudo; as root: apt-get install $*" >&2
            return 1
        fi
        as_root=(sudo)
        echo "sudo is asked for once, to install: $*" >&2
    else
        echo "installing: $*" >&2
    fi
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    "${as_root[@]}" apt-get -q update >&2 && "${as_root[@]}" "${apt[@]}" "$@" >&2
}

build_needs=(
    cmd:gcc=gcc
    file:/usr/include/stdio.h=libc6-dev
    cmd:meson=meson
    cmd:ninja=ninja-build
    cmd:pkg-config=pkgconf
    cmd:python3=python3
    pc:glib-2.0=libglib2.0-dev
    pc:gio-unix-2.0=libglib2.0-dev
    pc:json-glib-1.0=libjson-glib-dev
)
demo_needs=("${build_needs[@]}" cmd:socat=socat)
test_needs=("${build_needs[@]}"
    pc:cmocka=libcmocka-dev
    cmd:clang=clang
    "file:/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.a=libclang-rt-14-dev"
    cmd:clang-format=clang-format
    cmd:socat=socat
)
# The Linux guest of tests/guest and of docs/demo --guest.
guest_needs=(
    cmd:qemu-system-x86_64=qemu-system-x86
    "file:/boot/vmlinuz-*-cloud-amd64=linux-image-cloud-amd64"
    cmd:busybox=busybox-static
    cmd:cpio=cpio
    file:/sbin/modprobe=kmod
)
# Other people's programs that ours is tested with.
peer_needs=("${guest_needs[@]}"
    cmd:go=golang-go
    file:/usr/share/gocode/src/github.com/digitalocean/go-qemu=golang-github-digitalocean-go-qemu-dev
    file:/usr/share/gocode/src/github.com/kata-containers/govmm=golang-github-kata-containers-govmm-dev
    cmd:dpkg-source=dpkg-dev
    cmd:valgrind=valgrind
    cmd:qemu-storage-daemon=qemu-system-common
    file:/usr/lib/ipxe/qemu/pxe-virtio.rom=ipxe-qemu
    cmd:dpdk-testpmd=dpdk-dev
    "file:/usr/lib/*/dpdk/pmds-*/librte_net_virtio.so*=librte-net-virtio23"
    "file:/usr/lib/*/dpdk/pmds-*/librte_net_vhost.so*=librte-net-vhost23"
    file:/usr/sbin/libvirtd=libvirt-daemon
    "file:/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so=libvirt-daemon-driver-qemu"
    cmd:virsh=libvirt-clients
    pc:libvirt=libvirt-dev
)
