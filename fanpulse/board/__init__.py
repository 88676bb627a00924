"""The live board: what the topics say, drawn in a terminal.

Pure: ``model`` (what is known) from ``rolling`` (counts per minute) and ``leaders`` (who is first), and how
it looks: ``wording``, ``glyphs``, ``text``, ``panels``, ``screen``, ``plain``. Edges: ``feed`` reads the
topics as any other reader does, ``health`` asks the services, ``live`` owns the terminal, ``together`` and
``watching`` run them.
"""
