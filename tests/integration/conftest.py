"""Real namespaces, real netfilter, as root and as an ordinary user; and a count of what is left afterwards."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from natlab.sandbox.builder import FOLDER

ROOT = Path(__file__).parents[2]
USER = "natlab-learner"
USER_PYTHON = "/usr/bin/python3"
"""The ordinary user's Python: root's own may lie in root's home."""
AS_USER = (
    "setpriv",
    f"--reuid={USER}",
    f"--regid={USER}",
    "--init-groups",
    "env",
    f"HOME=/home/{USER}",
    f"USER={USER}",
)
"""Unlike su and runuser, these exec: a signal to the process is a signal to natlab."""
NETNS = {"NATLAB_PROVIDER": "netns"}
"""Whatever else this computer could run: a test that wants another provider says so."""


@dataclass(frozen=True)
class Learner:
    """Somebody who types natlab's commands, in a state folder of their own."""

    who: str
    natlab: str
    state: Path
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def argv(self, *arguments: str) -> list[str]:
        variables = {"XDG_STATE_HOME": str(self.state), "LANG": "C.UTF-8", "TERM": "xterm-256color", **NETNS}
        variables |= self.environment
        return [*self.prefix, "env", *(f"{key}={value}" for key, value in variables.items()), self.natlab, *arguments]

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments), input=stdin, capture_output=True, text=True, timeout=timeout, check=False, cwd="/"
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            start_new_session=True,
        )

    def on(self, machine: str, line: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command line on a machine."""
        return self.run("exec", *options, machine, "--", "bash", "-c", line)


def must_be_root() -> None:
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("these tests must run as root in CI, so that they can be an ordinary user too")
        pytest.skip("needs root, to be root and an ordinary user in turn")


def _checked(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300, cwd="/")
    assert done.returncode == 0, f"{shlex.join(argv)}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def user_natlab(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install natlab's wheel for an ordinary user, as that user; return the path of the command."""
    must_be_root()
    if subprocess.run(["id", USER], capture_output=True, check=False).returncode != 0:
        _checked("useradd", "--create-home", USER)
    wheels = tmp_path_factory.mktemp("wheel")
    _checked(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT))
    (wheel,) = wheels.glob("*.whl")
    home = Path("/home") / USER
    copy = home / f"{os.getpid()}" / wheel.name
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(wheel.read_bytes())
    # The tests of another clone may run at this moment, or others of these in a process of their own.
    venv = home / f"venv-{zlib.crc32(bytes(ROOT))}{os.environ.get('PYTEST_XDIST_WORKER', '')}"
    if not (venv / "bin/pip").exists():
        _checked(*AS_USER, USER_PYTHON, "-m", "venv", str(venv))
    _checked(
        *AS_USER, str(venv / "bin/pip"), "install", "--quiet", "--upgrade", "--force-reinstall", f"{copy}[libvirt]"
    )
    shutil.rmtree(copy.parent)
    return str(venv / "bin/natlab")


def worlds_of(learner: Learner) -> set[int]:
    """Return the worlds' inits whose folders lie in this learner's state folder; zombies have none any more.

    While it is made an init has its folder mounted; after that it bears the folder's name. With a world's init ends
    everything in it, so that there is nothing else to look for.
    """
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                making = os.fsencode(f" {learner.state}/") in (folder / "mountinfo").read_bytes()
                made = os.fsencode(f"{FOLDER}={learner.state}/") in (folder / "environ").read_bytes()
                if making or made:
                    found.add(int(folder.name))
            except OSError:
                continue
    return found


@pytest.fixture(params=["root", "user"])
def learner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Learner]:
    """Be root, then an ordinary user."""
    must_be_root()
    if request.param == "root":
        yield from _at_work(Learner("root", str(Path(sys.executable).with_name("natlab")), tmp_path))
        return
    natlab = request.getfixturevalue("user_natlab")
    state = Path(_checked(*AS_USER, "mktemp", "--directory").strip())
    yield from _at_work(Learner(USER, natlab, state, prefix=AS_USER))
    shutil.rmtree(state)


def _at_work(learner: Learner) -> Iterator[Learner]:
    """Lend a learner to a test, and fail it if something is left when they have gone."""
    yield learner
    learner.run("down", "--all")
    assert worlds_of(learner) == set()


@pytest.fixture
def root_learner(tmp_path: Path) -> Iterator[Learner]:
    """Be root, where who one is makes no difference."""
    must_be_root()
    yield from _at_work(Learner("root", str(Path(sys.executable).with_name("natlab")), tmp_path))
