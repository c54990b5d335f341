"""Disk images that virtual machines boot: a Debian that natlab makes, or a cloud image that somebody has.

store.py         the images of one user, and whether they are whole
manifest.py      what an image says about itself
build.py         from a Debian mirror to an image: a draft, stage by stage, put in place at the very end
recipe.py        what is asked of a build: release, packages, where they come from
requirements.py  what building needs of this computer
tree.sh          the part of a build that is root, of namespaces of its own
guest/           files laid over Debian's own
boot/init        the initrd's one program
initrd.py        the initrd: which kernel modules, in which order, in an archive
ext4.py          the times in a file system that would differ from build to build
kernel.py        the kernel as QEMU starts it fastest
seed.py          who a machine is: a disk beside the image for its first boot, a script for one that was restored
cloud.py         a stock cloud image, taken apart so that it boots without its boot loader
nocloud.py       the seed that cloud-init reads
vagrant.py       natlab's image as a box for Vagrant
box/             what such a box has besides
"""
