#!/bin/bash
# Builds the small machine that the libvirt provider starts when a vm names no image:
# busybox, a kernel, the Docker engine and ssh, all from Debian's packages (about
# 205 MB), with what lies in guest beside this script. The files disk.qcow2, kernel,
# initrd and golden come to the folder $1; golden says that machines can be made of the
# saved state of one of these. $2 is written to key beside them.
#
# No root is needed, but a Debian with apt-get, dpkg-deb, kmod, cpio, binutils,
# e2fsprogs and qemu-utils.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=$1 key=$2
tmp=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

# Packages come from the mirror that this computer has its own from, of releases that do
# not depend on its own.
mkdir -p "$tmp"/apt/{sources,lists/partial,archives/partial} "$tmp/deb" "$tmp/all" "$tmp/root"
: >"$tmp/apt/status" # what is installed here does not matter
mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" | head -n 1; }
site=$(mirror Debian) security=$(mirror Debian-Security)
[ -n "$site" ] || { echo "there is no Debian mirror in the sources of apt here: run apt-get update, or build the machine on a Debian"; exit 1; }
cat >"$tmp/apt/conf" <<EOF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$tmp/apt/sources";
Dir::State::Lists "$tmp/apt/lists";
Dir::State::Status "$tmp/apt/status";
Dir::Cache "$tmp/apt";
APT::Architecture "amd64";
APT::Sandbox::User "";
Acquire::Languages "none";
EOF
export APT_CONFIG=$tmp/apt/conf
release() {
	local signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
	echo "deb $signed $site $1 main" >"$tmp/apt/sources/main.list"
	[ -z "$security" ] || echo "deb $signed $security $1-security main" >"$tmp/apt/sources/security.list"
	apt-get update -qq
}

# The kernel. Those of later releases take no processor that is plugged into an emulated
# machine while it runs.
release bookworm
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
(cd "$tmp/deb" && apt-get download -qq "$kernel")

# What the engine, ssh and their helpers consist of, and all libraries of these. The
# engine of the release before starts itself anew for every layer of an image and several
# times for a container, which takes an emulated machine a second each.
release trixie
programs="busybox-static containerd docker.io iptables crun qemu-guest-agent openssh-client openssh-server stunnel4"
# shellcheck disable=SC2086 # the words of a list
libraries=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances --no-pre-depends $programs |
	sed -n 's/^\(z*lib[^ :]*\)$/\1/p' | grep -v -e perl -e '^libpam-' -e '^libsystemd-shared' | sort -u)
# shellcheck disable=SC2086
(cd "$tmp/deb" && apt-get download -qq $programs $libraries)
for deb in "$tmp"/deb/*.deb; do dpkg-deb -x "$deb" "$tmp/all"; done
cp -a "$tmp/all/lib/." "$tmp/all/usr/lib/" && rm -r "$tmp/all/lib" # as later releases have it
ln -s usr/lib "$tmp/all/lib"
version=$(ls "$tmp/all/lib/modules")
all=$tmp/all root=$tmp/root

mkdir -p "$root"/{bin,sbin,etc/docker,proc,sys,dev,run,tmp,mnt,root,var/log,var/lib/docker,lib/x86_64-linux-gnu,lib64,usr/bin,usr/sbin,usr/lib/openssh,usr/lib/x86_64-linux-gnu/xtables}
install -m 755 "$all/usr/bin/busybox" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"; done
ln -s ../bin/busybox "$root/sbin/init"
ln -s ../bin/busybox "$root/sbin/modprobe"
cp "$all"/usr/bin/{containerd,containerd-shim-runc-v2,crun,ssh,scp,ssh-keygen,stunnel4} "$root/usr/bin/"
ln -s crun "$root/usr/bin/runc" # it takes the same commands, and a fraction of the time
cp "$all"/usr/sbin/{dockerd,qemu-ga,sshd,xtables-nft-multi} "$root/usr/sbin/"
cp "$all"/usr/lib/openssh/{sshd-session,sshd-auth} "$root/usr/lib/openssh/"
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
	ln -s xtables-nft-multi "$root/usr/sbin/$name"
done
for match in addrtype conntrack comment standard MASQUERADE DNAT SNAT REDIRECT NAT tcp udp; do
	find "$all/usr/lib/x86_64-linux-gnu/xtables" -name "lib*t_$match.so" -exec cp -a {} "$root/usr/lib/x86_64-linux-gnu/xtables/" \;
done

# Libraries, and those that they need.
cp -L "$all/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$root/lib64/"
cp -L "$all/lib/x86_64-linux-gnu/libgcc_s.so.1" "$root/lib/x86_64-linux-gnu/" # threads end with it, and nothing says so
todo=$(find "$root/usr" -type f)
while [ -n "$todo" ]; do
	more=
	for file in $todo; do
		for lib in $(readelf -d "$file" 2>/dev/null | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p'); do
			[ -e "$root/lib/x86_64-linux-gnu/$lib" ] && continue
			from=$(find "$all/lib" "$all/usr/lib" -name "$lib" | head -n 1)
			[ -n "$from" ] || { echo "$file needs $lib, which no package has"; exit 1; }
			cp -L "$from" "$root/lib/x86_64-linux-gnu/$lib"
			more="$more $root/lib/x86_64-linux-gnu/$lib"
		done
	done
	todo=$more
done
find "$root/usr" -type f -size +1M -exec strip -s {} + 2>/dev/null || true

# Kernel modules, and those that they need; the disk's go into the initrd as well.
depmod -b "$all" "$version"
modules() {
	for m in "$@"; do modprobe -d "$all" -S "$version" --show-depends "$m" 2>/dev/null | awk '$1=="insmod"{print $2}'; done | awk '!seen[$0]++'
}
for file in $(modules virtio_console virtio_pci virtio_blk virtio_net virtio_rng virtio_balloon overlay isofs bridge br_netfilter veth \
	nf_tables nft_compat nft_chain_nat nf_nat nf_conntrack nf_conntrack_netlink xt_conntrack xt_addrtype xt_MASQUERADE xt_nat \
	xt_comment xt_tcpudp iptable_nat iptable_filter button evdev af_packet pvpanic pvpanic-mmio); do
	install -D -m 644 "$file" "$root/${file#"$all"/}"
done
cp "$all/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/"
depmod -b "$root" "$version"

cp -a "$here/guest/." "$root/"
ln -s ../run "$root/var/run"
printf 'root:*:0:0:root:/root:/bin/sh\nsshd:*:100:65534:ssh:/run/sshd:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\ndocker:x:999:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"

initrd=$tmp/initrd
mkdir -p "$initrd"/{bin,proc,sys,dev,modules,new}
cp "$root/bin/busybox" "$initrd/bin/"
ln -s busybox "$initrd/bin/sh"
n=10
for file in $(modules pvpanic-mmio virtio_pci virtio_blk virtio_net isofs overlay); do # the first tells of a panic
	cp "$file" "$initrd/modules/$n-$(basename "$file")"
	n=$((n + 1))
done
cat >"$initrd/init" <<'EOF'
#!/bin/sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for m in /modules/*; do $b insmod $m; done
n=0
until $b mount -t ext4 -o noatime /dev/vda /new 2>/dev/null; do
	n=$((n + 1))
	[ $n -lt 50 ] || { echo "no file system on /dev/vda"; exit 1; }
	$b usleep 100000
done
$b mount --move /dev /new/dev
$b mount --move /proc /new/proc
exec $b switch_root /new /sbin/init
EOF
chmod +x "$initrd/init"
(cd "$initrd" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --owner 0:0 | gzip -9) >"$tmp/initrd.gz"

truncate -s 8G "$tmp/disk.raw"
mke2fs -q -t ext4 -d "$root" -O ^metadata_csum -J size=16 -E lazy_itable_init=1,nodiscard,root_owner=0:0 -m 0 -L machine "$tmp/disk.raw"
qemu-img convert -O qcow2 "$tmp/disk.raw" "$tmp/disk.qcow2"
cp "$all/boot/vmlinuz-$version" "$tmp/kernel"
rm -f "$out/key"
mv "$tmp/kernel" "$out/kernel"
mv "$tmp/initrd.gz" "$out/initrd"
mv "$tmp/disk.qcow2" "$out/disk.qcow2"
echo "$key" >"$out/key"
echo 2 >"$out/golden"
