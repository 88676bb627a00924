"""The demo: a seeded scenario of a live broadcast, and the code that plays it to a stack and audits it.

``scenario`` builds the day from ``organisation`` (accounts and hashtags), ``audience`` (who acts),
``content`` (posts), ``ceremony``, ``viral``, ``engagement`` and ``readings`` (what happens) and ``noise``
(late, repeated and malformed events). All of these are pure and deterministic: see ``draw``. ``pacing`` and
``sent_counts`` are the pure part of the ``player``. ``verdict`` compares the result with the scenario, and
``closing`` prints it. Edges: ``player`` (HTTP), ``run`` (play, show, audit), ``fresh`` (broker and topics)
and ``demo`` (the whole demo, with ``demo_settings``).
"""
