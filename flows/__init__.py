"""The same run as Prefect flows: order, retries, concurrency. No logic; the only folder that imports Prefect."""
