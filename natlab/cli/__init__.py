"""The command line: arguments in, exit code out.

app.py         the typer application and its commands' arguments
context.py     what a command finds around it: streams, state folder, consoles; and the error boundary
files.py       what a command writes for its user

running.py     run
instances.py   up, down, status, shell, exec, table, check
resetting.py   reset, and the way back for machines that have ended
tracing.py     trace
timeline.py    history, undo
reporting.py   report, and pictures of the nat table
library.py     list, show, doctor
images.py      image build, list, verify, rm, export

making.py      the provider that was wished for
recording.py   what is written down of whatever a command does
background.py  a listener in a thread of its own
"""
