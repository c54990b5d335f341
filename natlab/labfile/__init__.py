"""A lab's files become a Lab, or one error that names file, line and key.

library.py   which labs there are, and where
source.py    files as text, and the one way to complain about them
parse.py     YAML -> plain values that remember their lines
schema.py    what an author may write, as types; complaints.py says what does not fit them
load.py      the author's words -> natlab.model, everything cross-checked (machines.py, checks.py, values.py)
"""

from natlab.labfile.library import available, find
from natlab.labfile.load import load

__all__ = ["available", "find", "load"]
