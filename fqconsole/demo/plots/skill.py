"""Plots about doing and knowing: growing a plant, learning, racing, testing what floats, solving riddles."""

from random import Random

from fqconsole.demo import vocabulary as words
from fqconsole.demo.grammar import Plot, Slots, always, maybe

PLANTS = (
    ("a bean", "a tall green vine", "climbed up the wall"),
    ("a sunflower seed", "a yellow sunflower", "was taller than a door"),
    ("a pumpkin seed", "a fat orange pumpkin", "was too heavy to lift"),
    ("a tulip bulb", "a red tulip", "opened in the sun"),
    ("an acorn", "a little oak", "had two shiny leaves"),
    ("a cherry stone", "a small cherry tree", "was full of white flowers"),
    ("a pea", "a green pea plant", "had sweet pods"),
    ("a rose cutting", "a white rose", "smelled wonderful"),
    ("a potato", "a leafy potato plant", "hid ten potatoes under it"),
)


def _plant(rng: Random, slots: Slots) -> None:
    seed, plant, trait = rng.choice(PLANTS)
    slots.update(seed=seed, plant=plant, feature=trait, seed_noun=seed.removeprefix("an ").removeprefix("a "))
    slots["plant_noun"] = plant.rsplit(" ", 1)[1]
    slots["days"] = words.NUMBERS[rng.randint(3, 12)]


SKILLS = (
    ("swim", "swallowed a lot of water", "kicked with both legs", "swam across the pond"),
    ("whistle", "only blew air", "made {his} lips round", "whistled a whole song"),
    ("ride a bicycle", "fell on the grass", "looked straight ahead", "rode all the way home"),
    ("juggle", "dropped all the balls", "watched the balls and not {his} hands", "juggled three balls"),
    ("skate", "slipped on the ice", "bent {his} knees", "skated in a circle"),
    ("bake bread", "burned the crust", "took it out earlier", "baked a golden loaf"),
    ("climb", "slid down again", "held on with both hands", "climbed to the top"),
    ("play the flute", "made an awful squeak", "blew more softly", "played a sweet tune"),
    ("tie a knot", "made a big tangle", "made the loop first", "tied a perfect knot"),
    ("fish", "scared all the fish away", "sat very still", "caught a big fish"),
    ("draw a horse", "drew something like a potato", "looked closely at a real horse", "drew a fine horse"),
    ("dance", "stepped on everyone's feet", "listened to the drum", "danced all evening"),
)


def _skill(rng: Random, slots: Slots) -> None:
    skill, failure, trick, success = rng.choice(SKILLS)
    slots.update(skill=skill, failure=failure, trick=trick.format_map(slots), success=success)


RACE_GOALS = (
    "the old oak",
    "the mill",
    "the bridge",
    "the white rock",
    "the church",
    "the edge of the forest",
    "the well",
)
RACE_STOPS = (
    ("stopped to take a nap", "was still asleep"),
    ("stopped to eat berries", "was still eating"),
    ("looked back and tripped", "was still sitting on the ground"),
    ("took the wrong path", "was far away"),
    ("stopped to look in a mirror", "was still combing {his2} hair"),
    ("chased a butterfly", "was still in the bushes"),
)


def _race(rng: Random, slots: Slots) -> None:
    stop, state = rng.choice(RACE_STOPS)
    slots.update(goal=rng.choice(RACE_GOALS), stop=stop, state=state.format_map(slots))


FLOATING = (
    ("cork", "light"),
    ("dry leaf", "light"),
    ("wooden spoon", "made of wood"),
    ("feather", "light"),
    ("toy boat", "made of wood"),
    ("pine cone", "light"),
    ("branch", "made of wood"),
    ("empty bottle", "full of air"),
    ("straw hat", "light"),
)
SINKING = (
    ("stone", "heavy"),
    ("iron nail", "made of iron"),
    ("coin", "made of metal"),
    ("brick", "heavy"),
    ("key", "made of metal"),
    ("hammer", "heavy"),
    ("horseshoe", "made of iron"),
    ("marble", "made of glass"),
    ("bell", "made of metal"),
)


def _float(rng: Random, slots: Slots) -> None:
    light, why_light = rng.choice(FLOATING)
    heavy, why_heavy = rng.choice(SINKING)
    slots.update(
        light=light,
        heavy=heavy,
        a_light=words.a(light),
        a_heavy=words.a(heavy),
        why_light=why_light,
        why_heavy=why_heavy,
    )
    slots["water"] = rng.choice(("a bucket of water", "a puddle", "a big tub", "a stream"))


RIDDLES = (
    ("What has hands but cannot clap?", "A clock", "clock"),
    ("What has teeth but cannot bite?", "A comb", "comb"),
    ("What gets wet while it dries?", "A towel", "towel"),
    ("What has a neck but no head?", "A bottle", "bottle"),
    ("What goes up but never comes down?", "Your age", "age"),
    ("What has many leaves but is not a tree?", "A book", "book"),
    ("What runs but has no legs?", "A river", "river"),
    ("What has one eye but cannot see?", "A needle", "needle"),
    ("What has four legs but cannot walk?", "A table", "table"),
    ("What can you catch but not throw?", "A cold", "cold"),
    ("What is full of holes but holds water?", "A sponge", "sponge"),
    ("What follows you all day in the sun?", "My shadow", "shadow"),
)
WRONG_ANSWERS = (
    "A fish",
    "A cloud",
    "A shoe",
    "An egg",
    "The moon",
    "A spoon",
    "A snail",
    "A hat",
    "The wind",
)


def _riddle(rng: Random, slots: Slots) -> None:
    question, answer, noun = rng.choice(RIDDLES)
    slots.update(question=question, answer=answer, noun=noun, wrong=rng.choice(WRONG_ANSWERS))
    slots["prize"] = words.a(rng.choice(words.COLORS) + " " + rng.choice(words.KEEPSAKES))
    slots["prize_noun"] = slots["prize"].rsplit(" ", 1)[1]


SKILL_PLOTS = (
    Plot(
        "plant",
        _plant,
        (
            always("{A} had {seed} in {his} hand.", "{B} gave {A} {seed}.", "{A} found {seed} {spot}."),
            always(
                "{A} dug a hole and put the {seed_noun} in.",
                "They put the {seed_noun} into the soil.",
                '"Let us plant it," said {B}, and they put it into the ground.',
            ),
            always(
                "Every day, {A} gave it water.",
                "{A} watered it every morning.",
                "{A} gave it water, and the sun gave it light.",
            ),
            maybe(
                '"Nothing is happening," said {A}.',
                '"Be patient," said {B}.',
                "For a long time, there was only bare soil.",
                "{A} wanted to dig it up again.",
            ),
            always(
                "After {days} days, there was a tiny green tip.",
                "After {days} days, something green came out of the soil.",
            ),
            always(
                "It grew into {plant} that {feature}.",
                "Weeks later it was {plant}. It {feature}.",
                "In summer there stood {plant} that {feature}.",
            ),
        ),
        "knowing",
        outdoors=True,
    ),
    Plot(
        "skill",
        _skill,
        (
            always(
                "{A} wanted to learn to {skill}.",
                '"I want to {skill} like you," said {A}.',
                "{B} could {skill}, but {A} could not.",
            ),
            always(
                "The first time, {he} {failure}.",
                "{A} tried it and {failure}.",
                "{A} tried, but {he} {failure}.",
            ),
            always(
                '"I will never learn it," said {A}.',
                '"Try again," said {B}.',
                "{B} did not laugh.",
                '"It is too hard," said {A}.',
                "{A} almost gave up.",
            ),
            always(
                "{B} showed {him} the trick, and {A} {trick}.",
                "The next time, {A} {trick}.",
                "So {he} tried again and {trick}.",
            ),
            maybe(
                "It went a little better.",
                "{A} practiced for days.",
                '"That is it!" said {B}.',
                "Slowly {he} got better.",
            ),
            always("At last, {A} {success}.", "In the end, {he} {success}.", "A week later, {A} {success}."),
        ),
        "courage",
    ),
    Plot(
        "race",
        _race,
        (
            always(
                '"I am faster than you," said {B}.',
                "{B} always said that nobody was faster.",
                '"Let us race to {goal}," said {B}. "I will win."',
            ),
            always(
                "They wanted to race to {goal}.",
                '"Then we will race to {goal}," said {A}.',
                "So they ran to {goal}.",
            ),
            always("{B} was far ahead at first.", "{B} ran like the wind.", "{A} was slow but did not stop."),
            always("But then {B} {stop}.", "On the way, {B} {stop}.", "{B} felt so sure that {he2} {stop}."),
            always("{A} went on, step by step.", "{A} ran past and did not look back.", "{A} kept going."),
            always("{A} came to {goal} first, and {B} {state}.", "When {A} got to {goal}, {B} {state}."),
            maybe(
                '"You won," said {B}. "I should not have boasted."',
                '"Slow and steady wins," said {A}.',
                "{B} learned not to boast.",
            ),
        ),
        "winning",
        outdoors=True,
    ),
    Plot(
        "float",
        _float,
        (
            always("{A} had {a_light} and {a_heavy}.", "They found {a_light} and {a_heavy} {spot}."),
            always(
                '"Which of them can float?" asked {B}.',
                '"Do you think they float?" asked {A}.',
                '"Let us see what floats," said {A}.',
            ),
            always("They went to {water}.", "There was {water} nearby.", "{B} showed {him} {water}."),
            always(
                "{A} put in the {heavy}. It sank at once.",
                "First they dropped the {heavy} in, and it sank.",
                "The {heavy} went down to the bottom.",
            ),
            always(
                "Then they tried the {light}. It floated.",
                "The {light} stayed on top of the water.",
                "Then {A} put in the {light}, and it floated.",
            ),
            always(
                '"The {heavy} sinks because it is {why_heavy}," said {B}.',
                '"The {light} floats because it is {why_light}," said {A}.',
                "The {light} was {why_light}, and the {heavy} was {why_heavy}.",
            ),
        ),
        "knowing",
    ),
    Plot(
        "riddle",
        _riddle,
        (
            always(
                "{B} liked riddles.",
                '"I have a riddle for you," said {B}.',
                '"If you solve my riddle, you get {prize}," said {B}.',
            ),
            always('"{question}" asked {B}.', '{B} asked, "{question}"'),
            always(
                '"{wrong}?" asked {A}. "No," said {B}.',
                '"Is it easy?" asked {A}. "Not at all," said {B}.',
                "{A} thought for a long time.",
                "{A} looked around.",
            ),
            maybe('"Do you give up?" asked {B}.', "{A} scratched {his} head.", "Then {his} eyes lit up."),
            always('"{answer}!" said {A}.', '"I know it," said {A}. "{answer}!"'),
            always(
                '"That is right," said {B}.',
                '"Yes!" said {B}, and they both laughed.',
                "{B} nodded and clapped {his2} hands.",
            ),
            maybe("{A} got {prize} as a prize.", "{B} gave {A} {prize}, and {A} took the {prize_noun} home."),
        ),
        "friendship",
    ),
)
