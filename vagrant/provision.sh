#!/bin/sh
# Makes one of the article's machines of any Debian, as root; Vagrant runs it once. What NATLAB_HOSTS, NATLAB_FRESH and
# NATLAB_PAGE hold is in base64. Nothing is downloaded if the programs are there already, as in natlab's own box.
set -eu

missing=
for each in ip:iproute2 sysctl:procps iptables:iptables nft:nftables conntrack:conntrack tcpdump:tcpdump curl:curl \
    busybox:busybox; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${each%%:*}" >/dev/null || missing="$missing ${each#*:}"
done
if [ -n "$missing" ]; then
    echo "natlab: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet=2
    # shellcheck disable=SC2086 # words on purpose
    apt-get install --yes --quiet=2 --no-install-recommends $missing >/dev/null
fi

echo "$NATLAB_NAME" >/etc/hostname
hostname "$NATLAB_NAME"
echo "$NATLAB_HOSTS" | base64 -d >/etc/hosts
mkdir -p /etc/natlab /srv/www
printf 'ADDRESS=%s\nMAC=%s\n' "$NATLAB_ADDRESS" "$NATLAB_MAC" >/etc/natlab/machine
rm -f /etc/natlab/web /srv/www/index.html
if [ -n "$NATLAB_PAGE" ]; then
    echo "LISTEN=$NATLAB_ADDRESS:80" >/etc/natlab/web
    echo "$NATLAB_PAGE" | base64 -d >/srv/www/index.html
fi
echo "$NATLAB_FRESH" | base64 -d >/usr/local/sbin/natlab-fresh
chmod 755 /usr/local/sbin/natlab-fresh

cat >/etc/systemd/system/natlab-web.service <<'END'
[Unit]
Description=The page that a lab is about
DefaultDependencies=no
ConditionPathExists=/etc/natlab/web

[Service]
EnvironmentFile=/etc/natlab/web
ExecStart=/bin/busybox httpd -f -vv -p ${LISTEN} -h /srv/www
StandardOutput=append:/var/log/httpd.log
StandardError=append:/var/log/httpd.log
Restart=always
END
cat >/etc/systemd/system/natlab-fresh.service <<'END'
[Unit]
Description=The lab's network, settings and web server
DefaultDependencies=no
After=local-fs.target systemd-sysctl.service networking.service systemd-networkd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/natlab-fresh

[Install]
WantedBy=multi-user.target natlab.target
END
systemctl daemon-reload
systemctl enable --quiet natlab-fresh.service 2>/dev/null
/usr/local/sbin/natlab-fresh
echo "natlab: ready"
