"""Providers make machines: each is one folder or module behind the `Provider` protocol, loaded only when it is used."""
