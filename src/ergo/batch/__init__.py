"""The same two looks over a data set too large for one sitting: on one machine, or on Ray.

rows.py      a folder, glob, JSONL, CSV or Parquet, at any fsspec address -> rows with ids that never change
worker.py    holds a model, keeps many rows in progress, runs both looks of a row back to back
shards.py    finished rows as Parquet files that appear whole or not at all; what is done is not done again
run.py       the drivers: this process, or actors on Ray
"""
