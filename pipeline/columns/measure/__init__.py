"""`measure:`, `join:`, `sql:`: numbers without a model.

Each file: frozen settings, and what gives the values.

    image.py   sharpness, brightness, contrast
    joined.py  the user's own numbers, by key
    sql.py     an expression over fields and columns
    text.py    what rules of text quality measure, as a column
"""
