"""The command line: arguments in, exit code out.

app.py        the typer application and its commands' arguments
context.py    what a command finds around it: streams, state folder, consoles; and the error boundary
running.py    `run`
instances.py  up, down, status, shell, exec, table, check
library.py    list, show, doctor
"""
