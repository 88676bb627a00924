"""A rehearsal of the day that the product is for: a seeded scenario, and the player that sends it.

``scenario`` puts the day together from ``matrix`` (who and what), ``audience`` (who acts), ``content``
(what is published), ``ceremony``, ``viral``, ``engagement`` and ``readings`` (what happens) and ``disorder``
(what goes wrong on the way). All of these are pure and deterministic: see ``draw``. ``pacing`` and ``tally``
are the pure half of the ``player``, which is an edge, and so are ``rehearsal`` (play, show, audit), ``fresh``
and ``show`` (the whole demo). ``verdict`` and ``closing`` say what came of it.
"""
