"""Answers of people: read from labeling tools' files, kept round by round.

In: exports of tools. Out: rounds below STORE/labels, and how labeling stands. columns/labels.py reads them as a
column; emit/tasks.py writes tasks.

    files.py   answers in labeling tools' own exports
    rounds.py  answers checked and kept, round after round
    status.py  rounds, budgets, classes, accuracy by round
"""
