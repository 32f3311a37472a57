"""The data's path: read, store, make columns, select, write, explain. Nothing here knows Prefect."""
