"""`fanpulse load`: files of rows into ingest, over HTTP.

The way of a row: ``opening`` (what the file is; ``compressed`` if it is compressed) -> ``delimited``,
``jsonlines`` or ``parquet`` (rows with their line numbers) -> ``tables`` or ``objects``, by the ``rules``
that the options state and the converters of ``cells`` (row -> event) -> ``loading`` (batches;
``rate_limiter``) ->
``client`` (requests, retries). ``session`` puts these together for one command, with a ``checkpoint``.
"""
