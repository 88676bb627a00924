"""The live board: the totals and alerts topics, drawn in a terminal.

Pure: ``model`` holds the state, with ``rolling`` (counts per minute) and ``leaders`` (the top subjects);
``wording``, ``glyphs``, ``text``, ``panels``, ``screen`` and ``plain`` draw it. Edges: ``feed`` reads the
topics like any other reader, ``health`` probes the services, ``live`` owns the terminal, and ``watch`` runs
them all, with ``background``.
"""
