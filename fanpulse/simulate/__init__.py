"""A rehearsal of the day that the product is for: a seeded scenario, and the player that sends it.

``scenario`` puts the day together from ``matrix`` (who and what), ``audience`` (who acts), ``content``
(what is published), ``ceremony``, ``viral``, ``engagement`` and ``readings`` (what happens) and ``noise``
(what goes wrong on the way). All of these are pure and deterministic: see ``draw``. ``pacing`` and
``sent_counts``
are the pure half of the ``player``, which is an edge, and so are ``demo_run`` (play, show, audit), ``fresh``
and ``demo`` (the whole demo). ``verdict`` and ``closing`` say what came of it.
"""
