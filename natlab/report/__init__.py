"""What came of a lab: of one run for programs, and of a whole record for people.

collect.py   a listener that remembers what was found, also when the run breaks
json.py      that as one JSON document
junit.py     that as JUnit XML
telling.py   a record's story in words
markdown.py  that as Markdown
html.py      that as one HTML page, by report.html.j2
"""
