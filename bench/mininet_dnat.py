"""The lab's machines and rules in mininet 2.3 (Debian's python3-mininet): what natlab is measured against.

Three hosts on one Linux bridge, vm-2's page by the same web server, the same three commands on vm-1, and the first
answer. It verifies nothing else. Run it as root, in a network namespace of its own.
"""

import sys
import time

from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

PAGE = "<h1>Serving from VM-2</h1>"
SOLUTION = (
    "sysctl -w net.ipv4.ip_forward=1",
    "iptables --table nat --append PREROUTING --protocol tcp --destination 192.168.122.34 --dport 80 "
    "--jump DNAT --to-destination 192.168.122.179:80",
    "iptables --table nat --append POSTROUTING --protocol tcp --destination 192.168.122.179 --dport 80 "
    "--jump SNAT --to-source 192.168.122.34",
)


def main() -> int:
    net = Mininet(switch=LinuxBridge, controller=None)
    switch = net.addSwitch("s1")
    hosts = {
        name: net.addHost(name, ip=f"{address}/24")
        for name, address in (("host", "192.168.122.1"), ("vm1", "192.168.122.34"), ("vm2", "192.168.122.179"))
    }
    for host in hosts.values():
        net.addLink(host, switch)
    net.start()
    try:
        hosts["vm2"].cmd(f"mkdir -p /tmp/mininet-www && echo '{PAGE}' >/tmp/mininet-www/index.html")
        hosts["vm2"].cmd("busybox httpd -f -p 80 -h /tmp/mininet-www & echo $! >/tmp/mininet-www/pid")
        for command in SOLUTION:
            hosts["vm1"].cmd(command)
        for _ in range(100):
            answer = hosts["host"].cmd("curl -s --max-time 2 http://192.168.122.34/")
            if "Serving from VM-2" in answer:
                return 0
            time.sleep(0.01)
        return 1
    finally:
        hosts["vm2"].cmd("kill $(cat /tmp/mininet-www/pid); rm -r /tmp/mininet-www")
        net.stop()


if __name__ == "__main__":
    sys.exit(main())
