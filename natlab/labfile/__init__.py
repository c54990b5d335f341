"""A lab's files become a Lab, or one error that names file, line and key.

library.py   which labs there are, and where
source.py    files and YAML as plain values that remember their lines
schema.py    what an author may write, as types
load.py      the author's words -> natlab.model, everything cross-checked
"""

from natlab.labfile.library import available, find
from natlab.labfile.load import load

__all__ = ["available", "find", "load"]
