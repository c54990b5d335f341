"""What Vagrant 2.3.4 and 2.4.1 really print, and what natlab makes of it."""

from __future__ import annotations

import pytest

from natlab.errors import InfrastructureError
from natlab.providers.libvirt.boot import READY, SSH
from natlab.providers.vagrant import speech
from natlab.providers.vagrant.speech import BOOTING, PREPARED, Access, Said

SSH_CONFIG = """\
Host vm-1
  HostName 192.168.121.166
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile /home/me/.local/share/natlab/vagrant/.vagrant/machines/vm-1/libvirt/private_key
  IdentitiesOnly yes
  LogLevel FATAL

Host vm-2
  HostName 127.0.0.1
  User vagrant
  Port 2200
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "/home/me/my labs/.vagrant/machines/vm-2/virtualbox/private_key"
  IdentityFile /home/me/.vagrant.d/insecure_private_key
  IdentitiesOnly yes
  LogLevel FATAL

"""

STATUS = """\
1795405532,vm-1,metadata,provider,libvirt
1795405532,vm-2,metadata,provider,libvirt
1795405533,vm-1,provider-name,libvirt
1795405533,vm-1,state,running
1795405533,vm-1,state-human-short,running
1795405533,vm-1,state-human-long,The Libvirt domain is running. To stop this machine%!(VAGRANT_COMMA) you can run\\n`vagrant halt`.
1795405533,vm-2,provider-name,libvirt
1795405533,vm-2,state,not_created
1795405533,vm-2,state-human-short,not created
1795405533,,ui,info,Current machine states:\\n\\nvm-1                      running (libvirt)
"""  # noqa: E501 as it was printed

PLUGINS = """\
1795405543,,ui,info,vagrant-libvirt (0.11.2%!(VAGRANT_COMMA) system)
1795405543,,plugin-name,vagrant-libvirt
1795405543,vagrant-libvirt,plugin-version,0.11.2%!(VAGRANT_COMMA) system
"""

PARALLEL = (
    "1795406987,,error-exit,Vagrant::Errors::BatchMultiError,An error occurred while executing multiple actions in"
    " parallel.\\nAny errors that occurred are shown below.\\n\\nAn unexpected error occurred when executing the action on"  # noqa: E501
    " the\\n'vm-1' machine. Please report this as a bug:\\n\\nCall to virDomainCreateWithFlags failed: internal error: "
    "process exited while connecting to monitor: qemu: could not open kernel file '/root/kernel': Permission denied\\n\\n"  # noqa: E501
    "/usr/lib/ruby/vendor_ruby/fog/libvirt/requests/compute/vm_action.rb:7:in `create'\\n/usr/lib/ruby/x.rb:76:in `start'"  # noqa: E501
    "\\n\\nAn unexpected error occurred when executing the action on the\\n'vm-2' machine. Please report this as a bug:"
    "\\n\\nCall to virDomainCreateWithFlags failed: something else"
)
RANGES = (
    "1795406987,,error-exit,VagrantPlugins::ProviderVirtualBox::Errors::HostOnlyNetworkRange,The IP address configured for"  # noqa: E501
    " the host-only network is not within the\\nallowed ranges. Please update the address used to be within the allowed"
    "\\nranges and run the command again.\\n\\n  Address: 192.168.122.34\\n  Ranges: 192.168.56.0/21\\n\\nValid ranges can "  # noqa: E501
    "be modified in the /etc/vbox/networks.conf file."
)
PROVISION = """\
1795405424,vm-1,ui,detail,    vm-1: Running: /tmp/vagrant-shell20261123-1358-p63q8q.sh
1795405425,vm-1,ui,detail,    vm-1: natlab: installing conntrack
1795405426,vm-1,ui,detail,    vm-1: E: Unable to fetch some archives%!(VAGRANT_COMMA) maybe run apt-get update
1795405427,,error-exit,Vagrant::Errors::VagrantError,The SSH command responded with a non-zero exit status. Vagrant\\nassumes so.
"""  # noqa: E501 as it was printed
CRASH = """\
1795406499,vm-1,ui,info,==> vm-1: Attempting direct shutdown of domain...
/usr/share/fog/core/wait_for.rb:9:in `block in wait_for': The specified wait_for timeout (44.6 seconds) was exceeded (Fog::X)
\tfrom /usr/share/fog/core/wait_for.rb:6:in `loop'
\tfrom /usr/share/fog/core/wait_for.rb:6:in `wait_for'
"""  # noqa: E501 as it was printed


def test_how_to_sign_in_to_each_machine() -> None:
    assert speech.read_ssh_config(SSH_CONFIG) == {
        "vm-1": Access(
            "192.168.121.166",
            22,
            "vagrant",
            "/home/me/.local/share/natlab/vagrant/.vagrant/machines/vm-1/libvirt/private_key",
        ),
        "vm-2": Access("127.0.0.1", 2200, "vagrant", "/home/me/my labs/.vagrant/machines/vm-2/virtualbox/private_key"),
    }
    assert speech.read_ssh_config("") == {}


@pytest.mark.parametrize("line", ["  HostName", "  User ", "  Port ", "  IdentityFile"])
def test_a_machine_that_can_not_be_signed_in_to_is_named(line: str) -> None:
    lines = [each for each in SSH_CONFIG.splitlines() if not each.startswith(line)]
    with pytest.raises(InfrastructureError, match="vm-1"):
        speech.read_ssh_config("\n".join(lines))


def test_a_port_that_is_none() -> None:
    with pytest.raises(InfrastructureError, match="vm-2"):
        speech.read_ssh_config(SSH_CONFIG.replace("2200", "ssh"))


def test_the_state_of_each_machine() -> None:
    assert speech.states(STATUS.splitlines()) == {"vm-1": "running", "vm-2": "not_created"}
    assert speech.states(["nothing", ""]) == {}


def test_plugins_and_their_versions() -> None:
    assert speech.plugins(PLUGINS.splitlines()) == {"vagrant-libvirt": "0.11.2"}
    assert speech.plugins(["1795405543,,ui,info,No plugins installed."]) == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1795405533,vm-1,state,running\r", Said("vm-1", "state", ("running",))),
        ("1,,ui,info,a%!(VAGRANT_COMMA) b\\nc", Said(None, "ui", ("info", "a, b\nc"))),
        ("1,vm-1,metadata", Said("vm-1", "metadata", ())),
        ("\tfrom /usr/share/fog.rb:6:in `loop'", None),
        ("Warning, of something, else", None),
        ("12345", None),
        ("", None),
    ],
)
def test_a_line(line: str, said: Said | None) -> None:
    assert speech.read(line) == said


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("1,vm-1,ui,info,==> vm-1: Starting domain.", (BOOTING, SSH)),
        ("1,vm-1,ui,info,==> vm-1: Booting VM...", (BOOTING, SSH)),
        ("1,vm-1,ui,output,==> vm-1: Machine booted and ready!", (SSH, PREPARED)),
        ("1,vm-2,ui,detail,    vm-2: natlab: ready", (PREPARED, READY)),
        ("1,vm-2,ui,detail,    vm-2: Warning: Connection refused. Retrying...", None),
        ("1,,ui,info,Booting VM...", None),
        ("1,vm-1,state,Starting domain", None),
    ],
)
def test_a_stage_that_a_machine_has_reached(line: str, stage: tuple[str, str] | None) -> None:
    said = speech.read(line)
    assert said is not None
    assert speech.milestone(said) == stage


def test_a_download_is_noticed() -> None:
    line = "1,vm-1,ui,info,==> vm-1: Box 'debian/bookworm64' could not be found. Attempting to find and install..."
    said = speech.read(line)
    assert said is not None
    assert speech.fetches(said)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            PARALLEL,
            "Call to virDomainCreateWithFlags failed: internal error: process exited while connecting to monitor: "
            "qemu: could not open kernel file '/root/kernel': Permission denied",
        ),
        (
            RANGES,
            "The IP address configured for the host-only network is not within the allowed ranges. Please update the "
            "address used to be within the allowed ranges and run the command again. Address: 192.168.122.34 "
            "Ranges: 192.168.56.0/21 Valid ranges can be modified in the /etc/vbox/networks.conf file.",
        ),
        (
            PROVISION,
            "a command on the machine failed: vm-1: E: Unable to fetch some archives, maybe run apt-get update",
        ),
        (CRASH, "The specified wait_for timeout (44.6 seconds) was exceeded (Fog::X)"),
        ("1,,ui,error,The box could not be found.\\n", "The box could not be found."),
        ("1,vm-1,ui,info,==> vm-1: Starting domain.", "==> vm-1: Starting domain."),
        ("NATLAB_PREFIX: `x` is not the first three numbers", "NATLAB_PREFIX: `x` is not the first three numbers"),
        ("", "it said nothing"),
    ],
    ids=["two machines", "VirtualBox", "provisioning", "Ruby", "error", "last words", "Vagrantfile", "silence"],
)
def test_what_vagrant_ended_with_in_one_line(lines: str, told: str) -> None:
    assert speech.complaint(lines.splitlines()) == told


def test_a_complaint_has_an_end_and_no_control_characters() -> None:
    told = speech.complaint([f"1,,error-exit,X,\x1b[31m{'word ' * 1000}"])
    assert len(told) == 400
    assert "\x1b" not in told
