"""The report, one HTML file that opens anywhere.

In: a run whose selection stands. Out: report.html.

    charts.py      the report's drawings as inline SVG
    data.py        what the report shows, asked with SQL
    dropped.py     what each step dropped, by reason
    page.py        the report, one HTML file
    thumbnails.py  the report's small pictures
"""
