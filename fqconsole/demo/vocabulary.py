"""The words of the stories: names, traits, places and the things that happen to be found there."""

from typing import NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NUMBERS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)

FEMALE_NAMES = _words(
    "Ada Alma Anna Bella Cara Clara Dora Elsa Emma Eva Fern Flora Gilda Greta Hana Hazel Ida Iris "
    "Ivy Jana Julia Kira Lena Lily Lucy Luna Mara Maya Mina Mira Molly Nell Nina Nora Olga Opal "
    "Pearl Petra Pia Rosa Ruby Ruth Sara Selma Tess Tilda Vera Willa Yara Zoe"
)
MALE_NAMES = _words(
    "Abel Adam Anton Arlo Ben Boris Carl Cato Dan Diego Emil Erik Felix Finn Frank Gus Hugo Igor "
    "Ivan Jack Jonas Kai Karim Leo Levi Liam Luca Mark Max Milo Nico Noah Olaf Omar Oscar Otto Paul "
    "Pete Ravi Rolf Sam Simon Theo Tim Toby Tom Umar Victor Walt Yuri"
)

GIRLS = ("girl", "girl", "girl", "young woman", "shepherd girl", "farm girl")
BOYS = ("boy", "boy", "boy", "young man", "shepherd boy", "farm boy")
ANIMALS = ("fox", "rabbit", "bear", "mouse", "badger", "otter", "squirrel", "hedgehog", "owl", "goat", "duck")

TRAITS = (
    "brave",
    "kind",
    "clever",
    "curious",
    "patient",
    "cheerful",
    "gentle",
    "honest",
    "careful",
    "generous",
    "friendly",
    "helpful",
    "quiet",
    "shy",
    "stubborn",
    "busy",
    "thoughtful",
    "merry",
    "proud",
    "lively",
)

FEMALE_RELATIONS = ("friend", "friend", "sister", "cousin", "neighbor")
MALE_RELATIONS = ("friend", "friend", "brother", "cousin", "neighbor")

HUMAN_HOMES = (
    "in a small village",
    "in a town by the sea",
    "on a farm",
    "in a house on the hill",
    "near the old mill",
    "at the edge of the forest",
    "above a bakery",
    "in a narrow street",
    "beside a wide river",
    "in a red cottage",
)
ANIMAL_HOMES = (
    "in a hollow tree",
    "under the roots of an oak",
    "in a green valley",
    "beside a quiet pond",
    "in a deep forest",
    "in a burrow on the hill",
    "near a winding stream",
    "at the edge of a meadow",
)


class Place(NamedTuple):
    """A place: as the end of a walk (`to`), as where one is (`at`), and the spots where a thing can lie."""

    name: str
    to: str
    at: str
    spots: tuple[str, ...]


def _place(name: str, at: str, *spots: str) -> Place:
    return Place(name, f"to {name}", f"{at} {name}", spots)


HUMAN_OUTDOORS = (
    _place(
        "the market",
        "at",
        "under a fruit stall",
        "behind a barrel",
        "beside the fountain",
        "between the sacks of flour",
    ),
    _place(
        "the garden",
        "in",
        "under the rose bush",
        "behind the watering can",
        "among the beans",
        "beside the gate",
    ),
    _place(
        "the beach",
        "on",
        "under a striped towel",
        "behind a rock",
        "beside an old boat",
        "in a heap of seaweed",
    ),
    _place("the park", "in", "under a bench", "behind the swings", "beside the pond", "in a pile of leaves"),
    _place(
        "the farm",
        "on",
        "in the hay",
        "behind the tractor",
        "under the feeding trough",
        "beside the hen house",
    ),
    _place(
        "the harbor",
        "at",
        "under a fishing net",
        "behind a stack of crates",
        "in a coil of rope",
        "beside the lighthouse",
    ),
)
HUMAN_INDOORS = (
    _place(
        "the library",
        "in",
        "under a reading table",
        "behind the tall shelf",
        "between the books",
        "on the window seat",
    ),
    _place(
        "the train station",
        "at",
        "under a wooden bench",
        "behind the ticket window",
        "beside the clock",
        "on a luggage cart",
    ),
    _place(
        "the school", "at", "under a desk", "behind the piano", "in the coat room", "beside the blackboard"
    ),
    _place(
        "the bakery",
        "in",
        "under the counter",
        "behind the oven",
        "beside the bread basket",
        "on a high shelf",
    ),
    _place(
        "the workshop",
        "in",
        "under the workbench",
        "behind a row of planks",
        "in a box of nails",
        "beside the paint cans",
    ),
    _place(
        "the attic",
        "in",
        "inside an old trunk",
        "behind a dusty mirror",
        "under a blanket",
        "beside the chimney",
    ),
)
ANIMAL_OUTDOORS = (
    _place(
        "the forest", "in", "under a fern", "behind a fallen log", "in a hollow stump", "beside a mossy stone"
    ),
    _place(
        "the meadow", "in", "in the tall grass", "under a daisy", "behind a molehill", "beside the old fence"
    ),
    _place(
        "the river",
        "at",
        "under a flat stone",
        "behind the reeds",
        "beside the beaver dam",
        "among the water lilies",
    ),
    _place(
        "the hill",
        "on",
        "under a thorn bush",
        "behind a boulder",
        "beside the lonely pine",
        "in a patch of clover",
    ),
    _place(
        "the pond", "at", "under a lily pad", "behind the cattails", "beside the willow", "in the soft mud"
    ),
    _place(
        "the orchard",
        "in",
        "under an apple tree",
        "behind the ladder",
        "in a heap of leaves",
        "beside the stone wall",
    ),
)
ANIMAL_INDOORS = (
    _place(
        "the cave",
        "in",
        "behind a pillar of stone",
        "under a ledge",
        "beside a small pool",
        "in a dark corner",
    ),
)

# Each weather with what it does, so that the second sentence follows from the first.
WEATHERS = (
    ("sunny", ("The sun was warm and the sky was blue.", "The sun made everything shine.")),
    ("windy", ("The wind shook the branches.", "The wind pulled at every leaf.")),
    ("cold", ("The air was so cold that breath turned to mist.", "There was frost on the grass.")),
    ("foggy", ("The fog was so thick that the trees looked gray.", "It was hard to see far in the fog.")),
    ("rainy", ("Rain tapped on the leaves.", "There were puddles on every path.")),
    ("snowy", ("Snow covered the ground like a blanket.", "Every step made a crunch in the snow.")),
    ("hot", ("It was so hot that even the birds were quiet.", "Everyone looked for a bit of shade.")),
    ("quiet", ("Only the birds could be heard.", "Nothing moved but a single white cloud.")),
)
DAY_PARTS = ("morning", "morning", "afternoon", "day", "evening")

COLORS = ("red", "blue", "green", "yellow", "white", "black", "purple", "orange", "silver", "brown")
SIZES = ("small", "big", "tiny", "old", "new", "shiny", "little", "round")

# Things that one can have several of, with the word for one of them.
FOODS = (
    ("apple", "apples"),
    ("pear", "pears"),
    ("plum", "plums"),
    ("cherry", "cherries"),
    ("nut", "nuts"),
    ("fig", "figs"),
    ("cookie", "cookies"),
    ("bun", "buns"),
    ("carrot", "carrots"),
    ("peach", "peaches"),
    ("berry", "berries"),
    ("pancake", "pancakes"),
    ("tomato", "tomatoes"),
    ("orange", "oranges"),
)
TREASURES = (
    ("shell", "shells"),
    ("marble", "marbles"),
    ("button", "buttons"),
    ("feather", "feathers"),
    ("stone", "stones"),
    ("stamp", "stamps"),
    ("bead", "beads"),
    ("ribbon", "ribbons"),
    ("acorn", "acorns"),
    ("pencil", "pencils"),
    ("flower", "flowers"),
    ("card", "cards"),
    ("candle", "candles"),
    ("key", "keys"),
)
CONTAINERS = (
    "a basket",
    "a paper bag",
    "a wooden box",
    "a deep pocket",
    "a tin",
    "a blue bowl",
    "a small sack",
)

KEEPSAKES = (
    "hat",
    "scarf",
    "ball",
    "book",
    "whistle",
    "lantern",
    "doll",
    "kite",
    "drum",
    "watch",
    "glove",
    "coin",
    "mirror",
    "flute",
    "ring",
    "cap",
    "toy boat",
    "umbrella",
    "brush",
    "bell",
    "map",
    "key",
    "spoon",
    "notebook",
)


def a(word: str) -> str:
    """The word with its indefinite article: "an apple", "a red apple", "an honest fox"."""
    return f"an {word}" if word[0] in "aeiou" or word.startswith("honest") else f"a {word}"


def count(number: int, one: str, many: str) -> str:
    """A number of things in words: "one plum", "four plums"."""
    return f"{NUMBERS[number]} {one if number == 1 else many}"
