"""`.ci/install-packages` on other computers: its commands are stand-ins that write down how they were called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / ".ci/install-packages"


@pytest.fixture
def computer(tmp_path: Path) -> Path:
    """Return an empty PATH, but for what every computer has."""
    for program in ("sh", "env"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    return tmp_path


def put(computer: Path, name: str, script: str) -> None:
    file = computer / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def debian(computer: Path, *, user: int) -> None:
    """Make it a Debian on which curl is installed and nothing else is."""
    put(computer, "dpkg-query", 'for last; do :; done; [ "$last" = curl ] && echo installed')
    put(computer, "apt-get", f'echo "apt-get $*" >>{computer}/log')
    put(computer, "id", f"echo {user}")


def install(computer: Path, *packages: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), *packages], env={"PATH": str(computer)}, capture_output=True, text=True, check=False
    )


def log(computer: Path) -> str:
    file = computer / "log"
    return file.read_text(encoding="utf-8") if file.exists() else ""


def test_only_what_is_missing_is_installed(computer: Path) -> None:
    debian(computer, user=0)
    assert install(computer, "curl", "busybox", "nftables").returncode == 0
    assert log(computer) == "apt-get install --yes --quiet=2 --no-install-recommends busybox nftables\n"


def test_nothing_is_asked_of_apt_when_all_is_there(computer: Path) -> None:
    debian(computer, user=0)
    assert install(computer, "curl").returncode == 0
    assert log(computer) == ""


def test_an_ordinary_user_installs_with_sudo(computer: Path) -> None:
    debian(computer, user=1000)
    put(computer, "sudo", f'echo "sudo $1" >>{computer}/log; [ "$1" = -v ] || exec "$@"')
    assert install(computer, "busybox").returncode == 0
    assert log(computer).splitlines()[:2] == ["sudo -v", "sudo env"]
    assert log(computer).splitlines()[2].endswith(" busybox")


def test_without_sudo_it_says_what_to_ask_for_and_goes_on(computer: Path) -> None:
    debian(computer, user=1000)
    done = install(computer, "busybox", "curl")
    assert done.returncode == 0
    assert "apt-get install busybox\n" in done.stderr
    assert log(computer) == ""


def test_package_lists_are_fetched_when_a_package_is_unknown(computer: Path) -> None:
    debian(computer, user=0)
    put(
        computer,
        "apt-get",
        f'echo "$1" >>{computer}/log; [ -e {computer}/lists ] || [ "$1" = update ] && : >{computer}/lists',
    )
    assert install(computer, "busybox").returncode == 0
    assert log(computer).split() == ["install", "update", "install"]


def test_without_apt_it_names_the_packages_and_goes_on(computer: Path) -> None:
    done = install(computer, "busybox", "nftables")
    assert done.returncode == 0
    assert "busybox nftables" in done.stderr
    assert "natlab doctor" in done.stderr
