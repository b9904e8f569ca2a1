"""Plots in which something goes wrong, and one thing leads to the next until it is put right."""

from random import Random

from fqconsole.demo import vocabulary as words
from fqconsole.demo.grammar import Plot, Slots, always, maybe, set_weather


def _lost(rng: Random, slots: Slots) -> None:
    color, thing = rng.choice(words.COLORS), rng.choice(words.KEEPSAKES)
    slots.update(color=color, thing=thing, a_thing=words.a(f"{color} {thing}"))
    slots["giver"] = rng.choice(
        ("grandmother", "grandfather", "mother", "father", "aunt", "uncle", "teacher")
    )


# What is stuck, where, with which means it comes down, and how.
STUCK = (
    ("kite", "high up in a tree", "a long ladder", "climbed up and untangled the string"),
    ("ball", "on the roof", "a long pole", "pushed it until it rolled down"),
    ("hat", "on a tall branch", "a long stick", "lifted it off the branch"),
    ("shoe", "in the middle of a pond", "a small raft", "paddled out and picked it up"),
    ("boat", "between two rocks in the stream", "a fishing rod", "pulled it free with the hook"),
    ("coin", "at the bottom of a well", "a magnet on a string", "let it down until it went click"),
    ("ring", "in a crack between two stones", "a thin wire", "bent a hook and fished it out"),
    ("scarf", "on top of a fence", "a wooden box", "stood on it and reached up"),
    ("balloon", "under the high ceiling", "a tall chair", "stood on it and caught the string"),
    ("book", "on the highest shelf", "a stool", "stood on it and took the book down"),
)
STUCK_REASON = (
    "The wind had carried it there.",
    "{A} had thrown it too far.",
    "It had slipped out of {his} hands.",
    "Nobody knew how it got there.",
)


def _stuck(rng: Random, slots: Slots) -> None:
    thing, where, means, how = rng.choice(STUCK)
    color = rng.choice(words.COLORS)
    slots.update(
        thing=thing,
        color=color,
        where=where,
        means=means,
        how=how,
        reason=rng.choice(STUCK_REASON).format_map(slots),
    )
    slots["vain"] = rng.choice(
        ("jumped as high as {he} could", "stretched out {his} arm", "waited for a long time", "shouted at it")
    )
    slots["vain"] = slots["vain"].format_map(slots)


# What breaks, what is then wrong with it, what one needs, what one does.
BREAKAGES = (
    ("wagon", "one wheel came off", "a hammer and a nail", "nailed the wheel back on"),
    ("kite", "it had a long tear", "paper and glue", "glued a patch over the tear"),
    ("shirt", "the sleeve was torn", "a needle and thread", "sewed the sleeve"),
    ("chair", "one leg was broken", "wood and a saw", "made a new leg"),
    ("boat", "water came in through a hole", "a plank and some tar", "closed the hole"),
    ("fence", "two boards were missing", "boards and nails", "nailed the new boards on"),
    ("clock", "the hands did not move", "a small screwdriver", "put the tiny wheels back in place"),
    ("lamp", "it did not shine", "a new wick", "changed the wick and lit it"),
    ("door", "it would not close", "a drop of oil", "oiled the hinges"),
    ("cup", "the handle had come off", "strong glue", "glued the handle on"),
    ("bicycle", "the tire was flat", "a pump and a patch", "patched the tire and pumped it up"),
    ("swing", "the rope had snapped", "a new rope", "tied a strong knot"),
)


def _broken(rng: Random, slots: Slots) -> None:
    thing, fault, need, fix = rng.choice(BREAKAGES)
    slots.update(thing=thing, fault=fault, need=need, fix=fix)
    slots["old"] = rng.choice(("old", "little", "wooden", "favorite"))


# A sign in the sky, what follows, what it does to them, what they do, how it ends.
STORMS = (
    (
        "Dark clouds came over the hills.",
        "Soon it began to rain.",
        "They got very wet.",
        "a barn",
        "dried their clothes by a fire",
        "a rainbow stood in the sky",
    ),
    (
        "The sky turned gray and heavy.",
        "Then it began to snow.",
        "Their hands grew cold.",
        "a cabin",
        "drank hot tea",
        "everything was white and still",
    ),
    (
        "There was a rumble far away.",
        "Then came thunder and lightning.",
        "They were frightened.",
        "a cave",
        "sang songs until it was over",
        "the air smelled fresh",
    ),
    (
        "The wind grew stronger and stronger.",
        "Soon it blew leaves and dust around.",
        "They could hardly stand.",
        "a stone hut",
        "shut the door and waited",
        "the wind lay down again",
    ),
    (
        "Thick fog rose from the river.",
        "Soon they could not see the path.",
        "They did not know where to go.",
        "an old mill",
        "lit a lantern and waited",
        "the sun came through",
    ),
    (
        "The sun burned down on them.",
        "It became hotter and hotter.",
        "They were tired and thirsty.",
        "the shade of an oak",
        "drank cool water",
        "a soft wind came up",
    ),
)


def _storm(rng: Random, slots: Slots) -> None:
    # A quiet day, so that the opening does not foretell another sky than the one that comes.
    set_weather(slots, "quiet", "Nothing moved but a single white cloud.")
    slots.update(
        zip(("sign", "event", "effect2", "shelter", "rest", "after"), rng.choice(STORMS), strict=True)
    )


# An animal in need, where it is, what sets it free, and how it says thank you.
ANIMALS_IN_NEED = (
    ("kitten", "stuck in a tree", "climbed up and carried it down", "purred", "milk"),
    ("puppy", "caught in a fence", "bent the wire apart", "wagged its tail", "a bone"),
    (
        "bird",
        "lying on the ground with a hurt wing",
        "tied a soft cloth around the wing",
        "sang a little song",
        "some seeds",
    ),
    ("lamb", "stuck in the mud", "pulled it out with a rope", "said baa", "fresh grass"),
    ("turtle", "lying on its back", "turned it over", "blinked slowly", "a leaf of lettuce"),
    ("duckling", "lost in the reeds", "carried it back to its mother", "quacked", "bread crumbs"),
    ("pony", "tangled in a rope", "cut the rope", "shook its mane", "a carrot"),
    ("frog", "caught in a bucket", "tipped the bucket over", "croaked", "a cool puddle"),
    ("bee", "fallen into the water", "lifted it out with a leaf", "buzzed", "a yellow flower"),
)


def _rescue(rng: Random, slots: Slots) -> None:
    slots.update(zip(("pet", "need", "deed", "thanks", "treat"), rng.choice(ANIMALS_IN_NEED), strict=True))
    slots["a_pet"] = words.a(slots["pet"])


# A noise in the dark, what it might be, what it is.
NOISES = (
    ("a scratching noise", "a mouse in the wall", "gave it a crumb"),
    ("a long howl", "the wind in the chimney", "closed the shutter"),
    ("a loud bang", "a door that had not been shut", "shut the door"),
    ("a tapping sound", "a branch against the window", "opened the curtain"),
    ("a deep hoot", "an owl on the roof", "waved at it"),
    ("a slow drip", "water falling into a bucket", "emptied the bucket"),
    ("a soft rustle", "a hedgehog in the leaves", "let it go on its way"),
    ("a squeaking sound", "an old gate that moved", "closed the gate"),
)


def _noise(rng: Random, slots: Slots) -> None:
    noise, truth, act = rng.choice(NOISES)
    slots.update(
        noise=noise, truth=truth, act=act, light=rng.choice(("a candle", "a lantern", "a lamp", "a torch"))
    )
    fear = rng.choice(("monster", "ghost", "wolf", "thief", "giant"))
    slots.update(fear=f"a {fear}", fear_noun=fear)


TROUBLE_PLOTS = (
    Plot(
        "lost",
        _lost,
        (
            always(
                "{A} had {a_thing} from {his} {giver}.",
                "{A} loved {his} {color} {thing}, a gift from {his} {giver}.",
                "{A} always carried {a_thing} with {him}.",
            ),
            always(
                "But now the {thing} was gone.",
                "Suddenly {he} noticed that the {thing} was missing.",
                '"Where is my {thing}?" cried {A}.',
                '"I have lost my {color} {thing}," said {A} sadly.',
            ),
            always(
                "First they looked {wrong_spot}, but it was not there.",
                "{A} looked {wrong_spot} and found nothing.",
                '"Maybe it is {wrong_spot}," said {B}. They looked, but it was not there.',
            ),
            maybe(
                "{A} was close to tears.",
                '"Do not give up," said {B}.',
                '"When did you last have it?" asked {B}.',
                "They kept looking.",
            ),
            always(
                "Then {B} looked {spot}. There was the {color} {thing}!",
                "At last, {A} found the {thing} {spot}.",
                '"Here it is!" called {B}. The {thing} was {spot}.',
                "{B} saw something {color} {spot}. It was the {thing}!",
            ),
            maybe(
                "{A} jumped for joy.",
                "{A} held the {thing} tight.",
                '"I will never lose it again," said {A}.',
            ),
        ),
        "trouble",
    ),
    Plot(
        "stuck",
        _stuck,
        (
            always(
                "{His} {color} {thing} was {where}.",
                "{A} saw that {his} {color} {thing} was {where}.",
                '"My {color} {thing} is {where}!" said {A}.',
            ),
            maybe("{reason}"),
            always("{A} {vain}, but it did not help.", "First {A} {vain}. That did not work."),
            always(
                '"We need {means}," said {B}.',
                "{B} had an idea and brought {means}.",
                "Then {B} came back with {means}.",
                '"Wait," said {B}. "I will get {means}."',
            ),
            always(
                "{A} used {means} and {how}.", "{A} took {means} and {how}.", "{B} took {means} and {how}."
            ),
            always(
                "The {thing} was back.",
                '"I have my {thing} again!" said {A}.',
                "Now {A} had the {color} {thing} again.",
                "The {thing} was safe.",
            ),
        ),
        "trouble",
    ),
    Plot(
        "broken",
        _broken,
        (
            always(
                "{A} had {his} {old} {thing} with {him}.",
                "They wanted to use the {old} {thing}.",
                "There was {his} {old} {thing}.",
            ),
            always(
                "But {fault}.",
                "There was a crack and a bump, and {fault}.",
                '"Look," said {B}. {A} saw that {fault}.',
            ),
            maybe(
                '"It is ruined," said {A}.',
                '"Do not worry," said {B}. "We can mend it."',
                "{A} felt sad.",
                '"Who did this?" asked {B}.',
            ),
            always(
                '"All we need is {need}," said {B}.',
                "{B} fetched {need}.",
                "They went to look for {need}.",
                '"I have {need} at home," said {B}, and ran to get it all.',
            ),
            always(
                "{A} {fix}.", "{B} {fix} while {A} held it still.", "Together they worked, and {A} {fix}."
            ),
            always(
                "Now the {thing} was as good as new.",
                "The {thing} was whole again.",
                '"It works!" said {A}.',
                "The {old} {thing} looked better than before.",
            ),
        ),
        "trouble",
    ),
    Plot(
        "storm",
        _storm,
        (
            always("{sign} {event}", '{sign} "We should go," said {B}. {event}'),
            always("{effect2}", "{effect2} {A} took {B} by the hand.", '{effect2} "Come quickly," said {A}.'),
            always(
                "{A} saw {shelter} nearby.",
                "They ran to {shelter}.",
                '"There is {shelter}!" called {B}.',
                "Not far away they found {shelter}.",
            ),
            always("There they {rest}.", "They went there and {rest}."),
            maybe(
                "{B} told a funny story.",
                "{A} was not afraid with {B} beside {him}.",
                "They waited for an hour.",
                '"Soon it will be over," said {A}.',
            ),
            always(
                "When they came out, {after}.", "An hour later, {after}.", "Then it was over, and {after}."
            ),
        ),
        "friendship",
        outdoors=True,
    ),
    Plot(
        "rescue",
        _rescue,
        (
            always(
                "They heard a small cry.",
                "Something moved not far away.",
                '"Did you hear that?" asked {B}.',
                "{A} stopped and listened.",
            ),
            always("It was {a_pet}, {need}.", "They found {a_pet} {need}.", "There was {a_pet} {need}."),
            maybe(
                '"Poor thing," said {B}.',
                '"We must help it," said {A}.',
                "The {pet} looked at them with big eyes.",
                "The {pet} was afraid.",
            ),
            always(
                "{A} was gentle and {deed}.", "Carefully, {A} {deed}.", "{B} kept it calm while {A} {deed}."
            ),
            always("The {pet} {thanks}.", "The {pet} was safe and {thanks}."),
            always(
                "{B} gave it {treat}.",
                "{A} gave the {pet} {treat}.",
                "They gave it {treat}, and it was happy.",
            ),
        ),
        "friendship",
        outdoors=True,
    ),
    Plot(
        "noise",
        _noise,
        (
            always(
                "When it was dark, they heard {noise}.",
                "Then it got dark. Suddenly there was {noise}.",
                "At night, {A} woke up and heard {noise}.",
            ),
            always(
                '"It is {fear}!" whispered {A}.',
                '"What if it is {fear}?" asked {A}.',
                "{A} thought that it was {fear}.",
            ),
            maybe(
                "{His} heart beat fast.",
                "{A} hid under a blanket.",
                '"Stay close to me," said {B}.',
                "{A} did not dare to move.",
            ),
            always(
                "But {A} took {light} and went to look.",
                '"Let us look," said {B}, and lit {light}.',
                "Slowly, {A} lifted {light}.",
            ),
            always("It was only {truth}.", "There was no {fear_noun}. It was only {truth}."),
            always("{A} laughed and {act}.", "They both laughed, and {B} {act}."),
        ),
        "courage",
    ),
)
