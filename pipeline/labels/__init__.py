"""Answers of people: read from labeling tools' files, kept round by round.

In: exports of tools. Out: rounds below STORE/labels, and how labeling stands. columns/labels.py reads them as a
column; emit/tasks.py writes tasks.

    answers.py       what a person said of one sample
    files.py         answers in labeling tools' own exports
    label_studio.py  those of Label Studio: JSON, JSON_MIN, CSV
    rounds.py        answers checked and kept, round after round
    waiting.py   whether the next round may be asked
    status.py        rounds, budgets, classes, accuracy by round
"""
