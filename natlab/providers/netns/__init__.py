"""Machines made of Linux namespaces: they share the running kernel's real netfilter, and need no root.

provider.py   the Provider: a lab's machines as a plan for the sandbox
preflight.py  what this computer must be able to do, tried for real
"""
