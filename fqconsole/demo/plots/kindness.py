"""Plots about two who want something: trading, quarrelling, confessing, giving, cooking, bringing."""

from random import Random

from fqconsole.demo import vocabulary as words
from fqconsole.demo.grammar import Plot, Slots, always, maybe


def _trade(rng: Random, slots: Slots) -> None:
    mine, yours = rng.sample(words.KEEPSAKES, 2)
    color, color2 = rng.sample(words.COLORS, 2)
    slots.update(mine=mine, yours=yours, color=color, color2=color2)
    slots["one_like_it"] = words.a(mine)
    slots["a_mine"], slots["a_yours"] = words.a(f"{color} {mine}"), words.a(f"{color2} {yours}")


TOYS = (
    "swing",
    "red ball",
    "big drum",
    "kite",
    "sled",
    "wagon",
    "paint box",
    "picture book",
    "toy train",
    "rope",
)
FAIR_WAYS = (
    ("We can take turns", "First {A} had it, and then {B}"),
    ("Let us use it together", "They used it together, and it was twice as much fun"),
    ("You may have it first", "{B} had it first and gave it back soon"),
    ("Let us count to twenty and change", "They counted to twenty and changed, again and again"),
)


def _quarrel(rng: Random, slots: Slots) -> None:
    idea, outcome = rng.choice(FAIR_WAYS)
    slots.update(toy=rng.choice(TOYS), idea=idea, outcome=outcome.format_map(slots))


MISHAPS = (
    ("vase", "knocked over", "It fell and broke", "picked up every piece"),
    ("glass", "dropped", "It broke into a hundred pieces", "swept the floor"),
    ("cake", "sat on", "It was flat as a pancake", "baked a new one"),
    ("letter", "spilled ink on", "Nobody could read it now", "wrote it again"),
    ("jar of honey", "dropped", "The honey ran over the floor", "scrubbed the floor"),
    ("window", "kicked a ball through", "The glass was gone", "put in a new pane"),
    ("flower pot", "tipped over", "The soil was everywhere", "planted the flower in a new pot"),
    ("mirror", "bumped into", "It had a long crack", "saved up for a new one"),
    ("bucket of paint", "kicked", "The paint was all over the wall", "washed the wall"),
)


def _mishap(rng: Random, slots: Slots) -> None:
    slots.update(zip(("thing", "did", "result", "amends"), rng.choice(MISHAPS), strict=True))
    slots["owner"] = rng.choice(("grandmother", "mother", "father", "teacher", "aunt", "uncle"))


# What somebody loves, and the gift that goes with it.
LIKINGS = (
    ("music", "a flute", "played a song on it"),
    ("painting", "a box of colors", "painted a picture at once"),
    ("reading", "a thick book", "read the first page aloud"),
    ("the stars", "a small telescope", "looked at the moon through it"),
    ("the sea", "a model ship", "put it on the window sill"),
    ("cooking", "a shiny pan", "made an omelet in it"),
    ("gardening", "a bag of seeds", "planted them the same day"),
    ("animals", "a bird house", "hung it in a tree"),
    ("riddles", "a puzzle", "solved it before dinner"),
    ("winter", "a pair of skates", "skated on the ice"),
    ("travel", "an old map", "drew a line across it"),
    ("dancing", "a pair of dancing shoes", "danced around the room"),
)
WRONG_GIFTS = (
    "a pair of socks",
    "a cabbage",
    "an empty box",
    "a wooden spoon",
    "a sack of flour",
    "a broom",
    "a rusty nail",
)


def _gift(rng: Random, slots: Slots) -> None:
    slots.update(zip(("liking", "gift", "use"), rng.choice(LIKINGS), strict=True))
    slots.update(wrong_gift=rng.choice(WRONG_GIFTS), wrap=rng.choice(words.COLORS))
    slots["a_wrap"] = words.a(slots["wrap"])
    slots["gift_noun"] = slots["gift"].removeprefix("an ").removeprefix("a ")


DISHES = (
    ("soup", "carrots and onions", "salt", "hot and tasty"),
    ("a cake", "flour and eggs", "sugar", "soft and sweet"),
    ("bread", "flour and water", "yeast", "warm and crisp"),
    ("pancakes", "flour and milk", "eggs", "round and golden"),
    ("an apple pie", "apples and flour", "butter", "sweet and crunchy"),
    ("a salad", "lettuce and tomatoes", "oil", "fresh and green"),
    ("a stew", "beans and potatoes", "pepper", "thick and spicy"),
    ("lemonade", "lemons and water", "sugar", "cold and sweet"),
    ("porridge", "oats and milk", "honey", "warm and sweet"),
    ("jam", "berries and sugar", "lemon", "red and sticky"),
)


def _cook(rng: Random, slots: Slots) -> None:
    slots.update(zip(("dish", "have", "lack", "taste"), rng.choice(DISHES), strict=True))
    slots["dish_noun"] = slots["dish"].removeprefix("an ").removeprefix("a ")
    slots["guests"] = rng.choice(
        ("the whole family", "all their friends", "the neighbors", "a hungry traveler", "an old man")
    )
    plural = slots["dish_noun"] == "pancakes"
    slots.update(
        was="were" if plural else "was",
        it="them" if plural else "it",
        it_was="They were" if plural else "It was",
    )


# What stands in the way, how one gets past.
OBSTACLES = (
    ("the bridge was broken", "laid a plank across the stream", "crossed it step by step"),
    ("a tree lay across the road", "found a gap under the branches", "crawled through it"),
    ("the gate was locked", "found the key under a stone", "opened the gate"),
    ("the path was full of mud", "put flat stones in the mud", "hopped from one to the next"),
    ("a big dog sat in the way", "gave the dog a piece of bread", "walked past it"),
    ("the road went two ways", "asked a shepherd", "took the road on the left"),
    ("the hill was covered with ice", "scattered sand on the ice", "walked up slowly"),
    ("the river was too wide", "called the ferryman", "rode across in a rowing boat"),
    ("the fog hid the way", "followed the sound of a bell", "came to the right door"),
)
PARCELS = (
    "a letter",
    "a basket of eggs",
    "a pot of soup",
    "a warm coat",
    "a bottle of medicine",
    "a birthday cake",
    "a lost key",
    "a bag of flour",
)
RECEIVERS = (
    "the old miller",
    "the doctor",
    "the sick aunt",
    "the shepherd",
    "the blacksmith",
    "the teacher",
    "the lighthouse keeper",
    "the king",
)


def _errand(rng: Random, slots: Slots) -> None:
    slots.update(zip(("obstacle", "way", "passing"), rng.choice(OBSTACLES), strict=True))
    slots.update(parcel=rng.choice(PARCELS), receiver=rng.choice(RECEIVERS))
    slots["parcel_noun"] = slots["parcel"].removeprefix("a ")
    slots["reward"] = rng.choice(
        ("a cup of cocoa", "a silver coin", "a slice of pie", "a kind word", "a warm smile", "a jar of honey")
    )


KINDNESS_PLOTS = (
    Plot(
        "trade",
        _trade,
        (
            always(
                "{A} had {a_mine}, and {B} had {a_yours}.", "{A} brought {a_mine}. {B} brought {a_yours}."
            ),
            always(
                "{A} looked at the {yours} and wanted it.",
                '"I like your {yours}," said {A}.',
                "{A} had always wanted {a_yours}.",
                '"What a lovely {yours}!" said {A}.',
            ),
            always(
                '"And I like your {mine}," said {B}.',
                "{B} had always wanted {a_mine}.",
                "{B} could not stop looking at the {mine}.",
                '"I would love to have {one_like_it}," said {B}.',
            ),
            always(
                '"Shall we trade?" asked {A}.',
                '"Let us trade," said {B}.',
                "So they agreed to trade.",
                "Then {A} had an idea. They could trade!",
            ),
            maybe(
                '"Yes," said {B}, "that is fair."', "They shook hands.", "{B} thought about it and nodded."
            ),
            always(
                "Now {A} had the {color2} {yours}, and {B} had the {color} {mine}.",
                "{A} took the {color2} {yours}, and {B} took the {color} {mine}.",
                "{A} gave {B} the {color} {mine} and got the {color2} {yours}.",
            ),
        ),
        "friendship",
    ),
    Plot(
        "quarrel",
        _quarrel,
        (
            always(
                "They both wanted the {toy}.",
                "There was only one {toy}, and both of them wanted it.",
                "{A} had the {toy}, and {B} wanted it too.",
            ),
            always('"It is mine!" said {A}.', '"I saw it first!" said {B}.', '"Let go!" shouted {A}.'),
            always(
                '"No, it is my turn!" said {B}.',
                "{B} pulled, and {A} pulled harder.",
                "They did not speak for a long time.",
                "{B} began to cry.",
            ),
            always(
                "Then {A} felt sorry.",
                "After a while, {A} grew calm.",
                "{A} looked at {B} and felt bad.",
                '"I am sorry," said {A}.',
            ),
            always('"{idea}," said {A}.', '"{idea}," {he} said.'),
            always("{outcome}.", '"That is a good idea," said {B}. {outcome}.'),
        ),
        "friendship",
    ),
    Plot(
        "mishap",
        _mishap,
        (
            always(
                "There, {A} {did} the {thing} of {his} {owner}.",
                "By accident, {A} {did} {his} {owner}'s {thing}.",
            ),
            always("{result}.", '{result}. "Oh no!" said {A}.'),
            always(
                "{A} wanted to run away.",
                '"Nobody saw it," thought {A}.',
                "At first, {A} said nothing.",
                '"What should I do?" {A} asked {B}.',
            ),
            always(
                '"You should tell the truth," said {B}.',
                "But {B} said that it is better to be honest.",
                "Then {A} thought about it and felt bad.",
            ),
            always(
                'So {A} went to {his} {owner}. "I {did} the {thing}," {he} said. "I am sorry."',
                "{A} went home and told {his} {owner} everything.",
                '"It was me," {A} told {his} {owner}.',
            ),
            always(
                "{His} {owner} was not angry. Together they {amends}.",
                '"Thank you for telling me," said {his} {owner}. Then {A} {amends}.',
                "{A} {amends}, and all was well.",
            ),
        ),
        "learning",
    ),
    Plot(
        "gift",
        _gift,
        (
            always(
                "It was the birthday of {B}.",
                "Tomorrow was {B}'s birthday.",
                "{A} wanted to give {B} a present.",
            ),
            always(
                "{B} loved {liking}.",
                "Everyone knew that {B} loved {liking}.",
                '"I love {liking} more than anything," {B} always said.',
            ),
            maybe(
                "First {A} thought of {wrong_gift}, but that was not right.",
                '"Maybe {wrong_gift}?" thought {A}. "No, that is silly."',
                "{A} thought about it all day.",
            ),
            always(
                "Then {A} found {gift}.",
                "So {A} bought {gift}.",
                "In the end, {A} chose {gift}.",
                '"I know!" said {A}, and got {gift}.',
            ),
            always(
                "{A} wrapped the {gift_noun} in {wrap} paper.",
                "{A} hid the {gift_noun} behind {his} back.",
                "{A} tied {a_wrap} ribbon around the {gift_noun}.",
            ),
            always(
                "{B} opened it and {use}.",
                '"How did you know?" asked {B}. Then {he2} {use}.',
                "{B} was so happy that {he2} {use}.",
            ),
        ),
        "friendship",
    ),
    Plot(
        "cook",
        _cook,
        (
            always(
                "They wanted to make {dish}.",
                '"Let us make {dish}," said {A}.',
                "{A} wanted to make {dish} for {guests}.",
            ),
            always(
                "They had {have}, but no {lack}.",
                "{A} had {have}, but there was no {lack}.",
                "There were {have} on the table, but the {lack} was missing.",
            ),
            always(
                "{B} ran home to get some {lack}.",
                '"I have some {lack}," said {B}.',
                "They asked a neighbor for {lack}.",
                "{B} went out and came back with {lack}.",
            ),
            always(
                "{A} mixed everything in a big bowl.",
                "{A} stirred, and {B} watched the fire.",
                "They worked for an hour.",
                "{B} sang while {A} stirred.",
            ),
            always(
                "The {dish_noun} {was} {taste}.",
                "{it_was} {taste}.",
                "Soon the {dish_noun} {was} ready. {it_was} {taste}.",
            ),
            always(
                "They ate {it} with {guests}.",
                "{A} shared {it} with {guests}.",
                "There was enough for {guests}, too.",
            ),
        ),
        "sharing",
    ),
    Plot(
        "errand",
        _errand,
        (
            always(
                "They had to bring {parcel} to {receiver}.",
                '"Please take {parcel} to {receiver}," somebody had said.',
                "{A} had promised to bring {parcel} to {receiver}.",
            ),
            always(
                "But {obstacle}.",
                "They had not gone far when they saw that {obstacle}.",
                '"Look," said {B}. They saw that {obstacle}.',
            ),
            maybe(
                '"We will never get there," said {A}.',
                '"We have to go back," said {B}.',
                '"There must be a way," said {A}.',
                "{A} held the {parcel_noun} tightly.",
            ),
            always("{A} {way}.", "Then {A} {way}.", "{B} had an idea. {He2} {way}."),
            always("They {passing}.", "So they {passing}."),
            always(
                "At last, they gave the {parcel_noun} to {receiver}.",
                "Before night, {receiver} had the {parcel_noun}.",
                '"You came all this way with the {parcel_noun}!" said {receiver}.',
            ),
            maybe("For that they got {reward}.", "They were given {reward}."),
        ),
        "courage",
        outdoors=True,
    ),
)
