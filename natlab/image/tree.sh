#!/bin/sh
# The part of a build that is root, of user and mount namespaces of its own: what is mounted here ends with it.
#
#   tree.sh GUEST EPOCH COMMAND...
#
# COMMAND fills ./work/tree with a Debian. GUEST/ is laid over it, and everything that differs from one build to the
# next is taken away. The working folder then gets: disk.raw, vmlinuz, busybox, packages, release and modules/.
# No file in it is newer than EPOCH. `N: …` on standard output names the stage.
set -eu
guest=$1 epoch=$2
shift 2
out=$PWD tree=$PWD/work/tree
label=natlab
uuid=6e61746c-6162-4d61-8368-696e65000001 # "natlab", "Machine": the same in every build, as its bytes are to be

mkdir -p work
mount -t tmpfs -o mode=755,size=1500m natlab work
mkdir work/tree work/tmp
export TMPDIR="$PWD/work/tmp" SOURCE_DATE_EPOCH="$epoch"
"$@"

echo "N: making it a machine"
cd "$tree"
kernel=$(basename "$(ls -d boot/vmlinuz-*)" | cut -d- -f2-)
cp "boot/vmlinuz-$kernel" "$out/vmlinuz"
cp bin/busybox "$out/busybox"
chroot . dpkg-query --show --showformat='${Package}=${Version}\n' | LC_ALL=C sort >"$out/packages"
echo "$kernel" >"$out/release"
if [ -n "$(find "lib/modules/$kernel" -name '*.ko.xz' -print -quit)" ]; then
    # A machine under software emulation takes longer to unpack the modules of its first rule than to run them.
    find "lib/modules/$kernel" -name '*.ko.xz' -exec xz --decompress {} +
    chroot . depmod "$kernel"
fi
cp -R "lib/modules/$kernel" "$out/modules"

chroot . useradd --create-home --uid 1000 --user-group --shell /bin/bash --groups adm,systemd-journal learner
install -d -m 700 -o 1000 -g 1000 home/learner/.ssh
# Nobody can be this one but in a box for Vagrant, which brings the key.
chroot . useradd --create-home --uid 1001 --user-group --shell /bin/bash vagrant
install -d -m 700 -o 1001 -g 1001 home/vagrant/.ssh
# `*` is no password, and no lock either: sshd turns away whoever is locked.
sed -i -E 's/^(root|learner|vagrant):[^:]*:[^:]*:/\1:*:1:/; s/^([^:]*:[^:]*):[^:]*:/\1:1:/' etc/shadow

cp -R --no-preserve=mode,ownership,timestamps "$guest/." .
chmod 440 etc/sudoers.d/natlab
chmod 755 usr/local/sbin/sudo
ln -sf natlab.target etc/systemd/system/default.target
# Nothing is found out or tidied up at boot, each of which would be a program to start: natlab.target is all there is.
rm -rf lib/systemd/*-generators lib/systemd/system/*.wants etc/systemd/system/*.wants
chroot . update-alternatives --quiet --set iptables /usr/sbin/iptables-nft
chroot . update-alternatives --quiet --set ip6tables /usr/sbin/ip6tables-nft
# Everybody may ping by a setting (etc/natlab/settings), and not by an attribute that depends on who builds.
chroot . setcap -r /bin/ping 2>/dev/null || chmod u-s bin/ping
rm -f etc/hostname
echo natlab >etc/hostname
printf '127.0.0.1 localhost\n' >etc/hosts
: >etc/fstab
: >etc/resolv.conf
: >etc/machine-id # empty, not missing: a missing one would be a first boot

# What was only needed to get here, what tells one build from another, and what nobody reads on a lab's machine.
find boot -mindepth 1 -delete
find var/log var/cache tmp var/tmp run dev var/lib/apt/lists -mindepth 1 -delete
rm -f etc/ssh/ssh_host_* etc/passwd- etc/group- etc/shadow- etc/gshadow- etc/subuid- etc/subgid- etc/.pwd.lock \
    etc/apt/apt.conf.d/99mmdebstrap etc/apt/preferences.d/natlab var/lib/dpkg/*-old var/lib/systemd/random-seed \
    var/lib/systemd/catalog/database usr/lib/udev/hwdb.bin
find . -xdev -newermt "@$epoch" -exec touch --no-dereference --date="@$epoch" {} +

echo "N: writing the disk"
cd "$out"
export E2FSPROGS_FAKE_TIME="$epoch"
mke2fs -q -t ext4 -d "$tree" -L "$label" -U "$uuid" -E "hash_seed=$uuid,root_owner=0:0,lazy_itable_init=0" \
    -O ^has_journal,^metadata_csum,^resize_inode -m 0 -b 4096 disk.raw 2G
