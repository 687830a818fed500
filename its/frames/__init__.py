"""The results and rows of a study, logs of others, and paired comparisons as pandas data frames (docs/python.md).

Public are the names below; `its.read_study`, `its.read_log` and `its.compare` are the same functions.
"""

from its.frames.columns import StudyWarning
from its.frames.sides import Comparison, compare, read_log
from its.frames.study import StudyFrames, read_study

__all__ = ["Comparison", "StudyFrames", "StudyWarning", "compare", "read_log", "read_study"]
