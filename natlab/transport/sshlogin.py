"""Who natlab is to a machine's SSH server, and how it knows that it is that machine which answers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Login:
    """How to sign in to a machine. Nothing else is consulted: no agent, no key or configuration of the user's own.

    `host_key` is the machine's own key ("ssh-ed25519 AAAA…"): who can't prove to have it is not that machine. A login
    without one can only be made by saying that whoever answers is to be trusted. With `as_root` the user is an ordinary
    one, and commands go through `sudo -n`.
    """

    user: str
    address: str
    port: int
    private_key: str = field(repr=False)
    host_key: str | None
    as_root: bool
    trust_unknown: bool = False

    def __post_init__(self) -> None:
        """Refuse a login that says nothing, or two things, about who may answer."""
        if self.host_key is None and not self.trust_unknown:
            raise ValueError("a login needs the machine's host key, or trust_unknown=True")
        if self.host_key is not None and self.trust_unknown:
            raise ValueError("a login with a host key trusts that key alone")

    @property
    def where(self) -> str:
        """The address as messages have it."""
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ed25519 key in OpenSSH's formats: what ssh-keygen writes to its two files."""

    private: str = field(repr=False)
    public: str


def new_key_pair(comment: str) -> KeyPair:
    """Make a key that nobody has had before."""
    from cryptography.hazmat.primitives import serialization as as_text  # late: it takes a tenth of a second
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(as_text.Encoding.PEM, as_text.PrivateFormat.OpenSSH, as_text.NoEncryption())
    public = key.public_key().public_bytes(as_text.Encoding.OpenSSH, as_text.PublicFormat.OpenSSH)
    return KeyPair(private.decode("ascii"), f"{public.decode('ascii')} {comment}")
