"""Plots with small sums in them: given, found, lost, bought and shared, and the result is always right."""

from random import Random

from fqconsole.demo import vocabulary as words
from fqconsole.demo.grammar import Plot, Slots, always, maybe

N = words.NUMBERS


def _things(rng: Random, slots: Slots, table: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    one, many = rng.choice(table)
    slots.update(thing=one, things=many, container=rng.choice(words.CONTAINERS))
    return one, many


def _put(slots: Slots, things: tuple[str, str], **numbers: int) -> None:
    # Each number comes as a bare word (`n`) and with its noun (`n_things`).
    for key, number in numbers.items():
        slots[key] = N[number]
        slots[f"{key}_things"] = words.count(number, *things)
        slots[f"{key}_big"] = N[number].capitalize()


def _give(rng: Random, slots: Slots) -> None:
    things = _things(rng, slots, rng.choice((words.FOODS, words.TREASURES)))
    n = rng.randint(3, 12)
    m = rng.randint(1, min(n - 1, 6))
    _put(slots, things, n=n, m=m, k=n - m)
    slots["them"] = "one" if m == 1 else f"{N[m]} of them"
    slots["these"] = "This is for you." if m == 1 else "These are for you."
    slots["a_thing"] = words.a(things[0])


HOLDING = always(
    "{A} had {n_things} in {container}.",
    "{A} had {n_things}.",
    "{A} carried {n_things} in {container}.",
    "In {container}, {A} had {n_things}.",
)
WISHING = maybe(
    "{B} had none at all.",
    '"Can I have some {things}?" asked {B}.',
    "{B} looked at the {things} and sighed.",
    '"I wish I had {a_thing}," said {B}.',
    '"Those {things} look nice," said {B}.',
)
GIVING = always(
    "{A} gave {m_things} to {B}.",
    '"Here you are," said {A}, and gave {B} {them}.',
    "{A} gave {them} to {his} {relation}.",
    "So {A} gave {B} {m_things}.",
    '{A} smiled and gave {them} to {B}. "{these}"',
)
LEFT = always(
    "Now {A} had {k_things}.",
    "That left {A} with {k_things}.",
    "Now {A} had {k_things} and {B} had {m}.",
    "{A} still had {k_things} left.",
    "After that, {A} had {k_things}.",
)


def _give_and_find(rng: Random, slots: Slots) -> None:
    _give(rng, slots)
    things = (slots["thing"], slots["things"])
    k, p = N.index(slots["k"]), rng.randint(1, 6)
    _put(slots, things, p=p, q=k + p)


FINDING = always(
    "Then {A} found {p} more {spot}.",
    "Later, {A} found {p} more {spot}.",
    "On the way home, {A} found {p} more.",
    "Then {he} looked {spot} and found {p} more.",
)
TOTAL = always(
    "That made {q_things}.",
    "Now {he} had {q_things}.",
    "In the end, {A} had {q_things}.",
    "With those, {A} had {q_things}.",
)


def _collect(rng: Random, slots: Slots) -> None:
    things = _things(rng, slots, words.TREASURES)
    n, m = rng.randint(2, 10), rng.randint(2, 10)
    _put(slots, things, n=n, m=m, q=n + m)


def _lose(rng: Random, slots: Slots) -> None:
    things = _things(rng, slots, rng.choice((words.FOODS, words.TREASURES)))
    n = rng.randint(4, 12)
    m = rng.randint(1, min(n - 1, 5))
    _put(slots, things, n=n, m=m, k=n - m)
    slots["cause"], slots["remedy"] = rng.choice(
        (
            ("There was a hole in the bag.", "sewed up the hole"),
            ("The lid was loose.", "tied down the lid"),
            ("{A} ran too fast.", "walked slowly after that"),
            ("{A} tripped over a root.", "watched the ground after that"),
            ("The wind pushed the basket over.", "set the basket down behind a wall"),
        )
    )
    slots["cause"] = slots["cause"].format_map(slots)
    slots["only"] = "there was only one left" if n - m == 1 else f"there were only {N[n - m]} left"
    slots["fell"] = "fell out and was" if m == 1 else "fell out and were"


def _share(rng: Random, slots: Slots) -> None:
    things = _things(rng, slots, words.FOODS)
    half = rng.randint(1, 7)
    _put(slots, things, n=2 * half, k=half)


def _shop(rng: Random, slots: Slots) -> None:
    price = rng.randint(2, 9)
    left = rng.randint(1, 9)
    _put(slots, ("coin", "coins"), price=price, n=price + left, k=left, gap=left, lack=price + left)
    slots["color"] = rng.choice(words.COLORS)
    slots["good"] = rng.choice([thing for thing in words.KEEPSAKES if thing != "coin"])
    slots["a_good"] = words.a(f"{slots['color']} {slots['good']}")
    slots["seller"] = rng.choice(("the seller", "the old woman", "the shopkeeper", "the peddler"))
    slots["job"] = rng.choice(
        (
            "swept the floor",
            "carried water",
            "washed the windows",
            "fed the hens",
            "stacked the wood",
            "pulled the weeds",
            "picked the beans",
            "polished the pans",
        )
    )


WANTING = always(
    "{A} saw {a_good} and wanted it very much.",
    "There was {a_good} for sale. {A} liked it at once.",
    '"Look at that {color} {good}!" said {A}.',
    "{A} wanted to buy {a_good}.",
)

COUNTING_PLOTS = (
    Plot("give", _give, (HOLDING, WISHING, GIVING, LEFT), "sharing"),
    Plot("give and find", _give_and_find, (HOLDING, WISHING, GIVING, LEFT, FINDING, TOTAL), "sharing"),
    Plot(
        "collect",
        _collect,
        (
            always(
                "{A} loved to collect {things}.",
                '"Let us look for {things}," said {B}.',
                "They wanted to find some {things}.",
                "{A} needed {things} for a game.",
            ),
            always(
                "First, {A} found {n_things} {wrong_spot}.",
                "{A} looked {wrong_spot} and found {n_things}.",
                "There were {n_things} {wrong_spot}. {A} picked them all up.",
            ),
            always(
                "Then {he} found {m} more {spot}.",
                "After a while, {he} found {m} more {spot}.",
                "{B} found {m} more {spot} and gave them to {A}.",
            ),
            always(
                '"Now I have {q_things}," said {A}.',
                "Together that made {q_things}.",
                "Now {A} had {q_things}.",
                "{A} counted them all: {q_things}.",
            ),
        ),
        "counting",
    ),
    Plot(
        "lose some",
        _lose,
        (
            always(
                "{A} had a bag with {n_things}.",
                "{A} was carrying {n_things} in a basket.",
                "{A} had {n_things}.",
            ),
            always("{cause} Suddenly {m_things} {fell} gone.", "{cause} So {m_things} {fell} lost."),
            maybe(
                '"Oh no!" cried {A}.',
                '"What happened?" asked {B}.',
                "{A} looked everywhere but could not find more.",
            ),
            always("Now {only}.", "{A} had only {k_things} left.", "That left {k_things}."),
            always("{B} helped, and {A} {remedy}.", "{A} {remedy}.", "Then {A} {remedy}."),
        ),
        "learning",
    ),
    Plot(
        "share equally",
        _share,
        (
            always("They had {n_things} and they were both hungry.", "{A} and {B} had {n_things} to eat."),
            maybe(
                '"How many can I eat?" asked {B}.',
                '"Let us be fair," said {A}.',
                '"I want them all," said {B}, but then {he2} laughed.',
            ),
            always(
                "They shared them fairly: {k} for {A} and {k} for {B}.",
                "{A} took {k} and {B} took {k}.",
                "Each of them got {k_things}.",
                '"{k_big} for you and {k} for me," said {A}.',
            ),
            always(
                "They ate until nothing was left.",
                "The {things} were sweet and fresh.",
                "{B} said that everything tastes better together.",
                "They ate slowly and watched the clouds.",
            ),
        ),
        "sharing",
    ),
    Plot(
        "buy",
        _shop,
        (
            always(
                "{A} had {n_things} in {his} pocket.",
                "In {his} purse, {A} had {n_things}.",
                "{A} had saved {n_things}.",
            ),
            WANTING,
            always('"It costs {price_things}," said {seller}.', "It cost {price_things}."),
            always("{A} paid {price_things} and took the {good}.", "{A} bought it and paid {price_things}."),
            always(
                "Now {he} had {k_things} left.",
                "That left {him} with {k_things}.",
                "{He} put {k_things} back.",
            ),
            maybe(
                "The {good} was {color} and beautiful.",
                '"I like your {color} {good}," said {B}.',
                "{A} held the {good} tightly.",
            ),
        ),
        "counting",
    ),
    Plot(
        "earn and buy",
        _shop,
        (
            always("{A} had {price_things}.", "{A} had only {price_things} in {his} pocket."),
            WANTING,
            always('"It costs {lack_things}," said {seller}.', "But it cost {lack_things}."),
            always(
                "{A} needed {gap} more.", '"Then I need {gap} more," said {A}.', "So {gap} more were missing."
            ),
            always(
                "{A} {job} for {seller} and got {gap_things} for it.",
                "So {he} {job} all day and earned {gap_things}.",
                "{B} had an idea. Together they {job} and earned {gap_things}.",
            ),
            always(
                "Now {he} had {lack_things} and could buy the {good}.",
                "With {lack_things} in {his} hand, {A} went back and bought the {color} {good}.",
            ),
        ),
        "counting",
    ),
)
