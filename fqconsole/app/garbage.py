"""When Python looks for garbage, so that no key waits for it."""

import gc

RARELY = 100  # looks at the young between two looks at everything: 10 by default


def keep_what_is_there() -> None:
    """What stands there lives to the end: to look through it again and again costs 0.1 s each time.

    What is made later is looked through as a whole ten times as rarely as by default: a dialogue of 200 turns
    costs 50 ms each time. What no other object refers to is freed at once as ever.
    """
    gc.freeze()
    often, sometimes, _seldom = gc.get_threshold()
    gc.set_threshold(often, sometimes, RARELY)
