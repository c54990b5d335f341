"""How a command reaches a machine: `local` for machines made of namespaces (the only importer of `subprocess`)."""
