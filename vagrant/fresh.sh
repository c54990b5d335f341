#!/bin/sh
# Puts a machine of Vagrant's to where a lab begins: no rules, no flows, the lab's address and settings, the web server
# started anew with an empty log. It runs at each boot (natlab-fresh.service), and by hand: sudo natlab-fresh.
# Files that were changed stay changed, but for those in /proc/sys: `vagrant destroy -f && vagrant up` makes a new machine.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
. /etc/natlab/machine

for program in ip sysctl iptables iptables-save nft conntrack curl busybox; do
    command -v "$program" >/dev/null || { echo "the program $program is gone" >&2; exit 1; }
done

# --- rules and flows; those of iptables-legacy are invisible to nft -----------------------------------------------------
nft flush ruleset
if [ -e /proc/net/ip_tables_names ]; then
    while read -r table; do
        iptables-legacy -t "$table" -F
        iptables-legacy -t "$table" -X
        iptables-legacy -t "$table" -S | while read -r option chain _; do
            if [ "$option" = -P ]; then iptables-legacy -t "$table" -P "$chain" ACCEPT; fi
        done
    done </proc/net/ip_tables_names
fi
conntrack -F >/dev/null 2>&1 || true

# --- the lab's network --------------------------------------------------------------------------------------------------
device=
for folder in /sys/class/net/*; do
    read -r mac <"$folder/address" && [ "$mac" = "$MAC" ] && device=${folder##*/}
done
[ -n "$device" ] || { echo "no network interface has the address $MAC" >&2; exit 1; }
ip link set "$device" down
ip address flush dev "$device"
ip address add "$ADDRESS/24" broadcast + dev "$device"
ip link set "$device" up

# --- settings: what natlab/sandbox/wiring.py gives to machines of its own -----------------------------------------------
sysctl -qw net.ipv4.ip_forward=0
for folder in /proc/sys/net/ipv4/conf/*; do
    for key in rp_filter send_redirects route_localnet; do echo 0 >"$folder/$key"; done
done
if [ -d /proc/sys/net/ipv6 ]; then
    sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
fi

# --- the web server -----------------------------------------------------------------------------------------------------
systemctl stop natlab-web.service
rm -f /var/log/httpd.log
systemctl reset-failed natlab-web.service 2>/dev/null || true
systemctl start natlab-web.service
if [ -e /etc/natlab/web ]; then
    . /etc/natlab/web
    port=$(printf %04X "${LISTEN##*:}") looks=100
    until grep -q ":$port 00000000:0000 0A" /proc/net/tcp; do
        looks=$((looks - 1))
        [ "$looks" -gt 0 ] || { echo "the web server does not listen" >&2; exit 1; }
        sleep 0.1
    done
fi
