"""The event log as Parquet files: `drain` says what lies where, `files` writes it."""
