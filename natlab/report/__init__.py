"""What a run found, for programs. Standard library only.

collect.py   a listener that remembers what was found, also when the run breaks
json.py      that as one JSON document
junit.py     that as JUnit XML
"""
