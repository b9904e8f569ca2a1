"""How a story is put together: a cast, an opening, the beats of one plot, an ending that fits."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from fqconsole.demo import vocabulary as words

Slots = dict[str, str]


@dataclass(frozen=True, slots=True)
class Beat:
    """One step of a plot: the ways of telling it, and how often it is told at all."""

    ways: tuple[str, ...]
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot: `fill` chooses its things, `beats` tell it, `theme` chooses which endings fit.

    `outdoors` keeps the plot away from places with a roof.
    """

    name: str
    fill: Callable[[Random, Slots], None]
    beats: tuple[Beat, ...]
    theme: str
    outdoors: bool = False


def always(*ways: str) -> Beat:
    """A beat that is always told, in one of these ways."""
    return Beat(ways)


def maybe(*ways: str) -> Beat:
    """A beat that half of the stories leave out."""
    return Beat(ways, 0.5)


FEMALE = {"he": "she", "him": "her", "his": "her", "himself": "herself"}
MALE = {"he": "he", "him": "him", "his": "his", "himself": "himself"}

INTRODUCTIONS = (
    "Once there was {a_trait} {kind} named {A}.",
    "{A} was {a_trait} {kind} who lived {home}.",
    "There once lived {a_trait} {kind} called {A}.",
    "Long ago, {a_trait} {kind} named {A} lived {home}.",
    "This is the story of {A}, {a_trait} {kind}.",
)
SCENES_AFTER_INTRODUCTION = (
    "{time}, {he} went {to} with {his} {relation} {B}.",
    "{time}, {he} met {his} {relation} {B} {at}.",
    "{His} {relation} {B} was {a_trait2} {kind2}. {time}, they went {to}.",
    "{time}, {he} and {his} {relation} {B} were {at}.",
    "{time}, {he} walked {to} and found {his} {relation} {B} there.",
)
SCENES_ALONE = (
    "{time}, {A} and {his} {relation} {B} went {to}.",
    "{time}, {A} was {at} when {his} {relation} {B} came by.",
    "{A} and {B} lived {home}. {time}, they walked {to}.",
    "It was {a_weather} {part}. {A} was {at} with {his} {relation} {B}.",
    "{time}, {A} met {his} {relation} {B} {at}.",
)
ENDINGS = {
    "sharing": (
        "{A} was glad to have shared.",
        "It felt good to share.",
        '"You are a good friend," said {B}.',
        "{B} thanked {A} and smiled.",
        "They sat down together and were happy.",
        "From then on, they shared everything.",
    ),
    "counting": (
        "{A} counted them again, and it was right.",
        "{A} put them away carefully.",
        "{He} was very pleased.",
        '"What a good {part}!" said {A}.',
        "{A} went home and told everyone about it.",
        "{A} showed them to everyone at home.",
    ),
    "trouble": (
        "{A} thanked {B} with a big hug.",
        '"Thank you, {B}," said {A}. "I could not have done it alone."',
        "They laughed and went home together.",
        "After that, {A} was always more careful.",
        "From that day on, {A} and {B} helped each other.",
        "{A} never forgot how {B} had helped.",
    ),
    "courage": (
        "{A} was proud of {himself}.",
        '"I knew you could do it," said {B}.',
        "{A} was not afraid anymore.",
        "That night, {A} slept very well.",
        "{B} told everyone how brave {A} had been.",
        "They walked home with their heads held high.",
    ),
    "friendship": (
        "They were best friends from that day on.",
        "{A} and {B} smiled at each other.",
        "They walked home side by side.",
        '"Let us do this again tomorrow," said {B}.',
        "{A} was happy, and so was {B}.",
        "It was the best {part} of the whole week.",
    ),
    "winning": (
        "{A} was proud of {himself}.",
        "{B} shook {A} by the hand.",
        "{A} smiled and was not proud at all.",
        '"Next time I will do better," said {B}.',
        "They drank cool water and laughed about it.",
        "{B} told everyone how {A} had won.",
    ),
    "knowing": (
        "{A} remembered that for a long time.",
        "{A} told everyone at home about it.",
        '"We learn something new every day," said {B}.',
        "{A} thought about it all the way home.",
        '"Tomorrow I will show it to my family," said {A}.',
        "{A} and {B} were very pleased.",
    ),
    "learning": (
        "{A} remembered that for a long time.",
        '"Now I know better," said {A}.',
        "{A} told the story to everyone at home.",
        '"We learn something new every day," said {B}.',
        "{He} never made that mistake again.",
        "{A} thought about it all the way home.",
    ),
}
TRAIT_ENDINGS = (
    "Everyone agreed that {A} was a very {trait} {kind}.",
    '"You really are {trait}," said {B}.',
    "And {A} stayed as {trait} as ever.",
)


def set_weather(slots: Slots, weather: str, effect: str) -> None:
    """Give the story this weather; a plot with a storm of its own calls it again."""
    slots.update(
        weather=weather, a_weather=words.a(weather), effect=effect, time=f"One {weather} {slots['part']}"
    )


def cast(rng: Random, *, outdoors: bool = False) -> Slots:
    """Two people or two animals, how they stand to each other, where and when they meet."""
    choice, chance = rng.choice, rng.random
    humans = chance() < 0.75
    first_female = chance() < 0.5
    # Mostly one of each, so that a pronoun is seldom in doubt.
    second_female = first_female if chance() < 0.25 else not first_female
    name = choice(words.FEMALE_NAMES if first_female else words.MALE_NAMES)
    other = choice(words.FEMALE_NAMES if second_female else words.MALE_NAMES)
    while other == name:
        other = choice(words.FEMALE_NAMES if second_female else words.MALE_NAMES)
    trait, trait2 = rng.sample(words.TRAITS, 2)
    if humans:
        kind = choice(words.GIRLS if first_female else words.BOYS)
        kind2 = choice(words.GIRLS if second_female else words.BOYS)
        relation = choice(words.FEMALE_RELATIONS if second_female else words.MALE_RELATIONS)
        home, place = (
            choice(words.HUMAN_HOMES),
            choice(words.HUMAN_OUTDOORS if outdoors else words.HUMAN_OUTDOORS + words.HUMAN_INDOORS),
        )
    else:
        kind, kind2 = choice(words.ANIMALS), choice(words.ANIMALS)
        relation = choice(("friend", "neighbor"))
        home, place = (
            choice(words.ANIMAL_HOMES),
            choice(words.ANIMAL_OUTDOORS if outdoors else words.ANIMAL_OUTDOORS + words.ANIMAL_INDOORS),
        )
    if kind2 == kind and relation not in {"sister", "brother"}:
        a_kind2 = "another " + kind2
    else:
        a_kind2 = words.a(kind2)
    weather, effects = choice(words.WEATHERS)
    part = choice(words.DAY_PARTS)
    spot, wrong_spot = rng.sample(place.spots, 2)
    slots = {
        "A": name,
        "B": other,
        "kind": kind,
        "kind2": kind2,
        "a_kind2": a_kind2,
        "trait": trait,
        "trait2": trait2,
        "a_trait": words.a(trait),
        "a_trait2": words.a(trait2),
        "relation": relation,
        "home": home,
        "to": place.to,
        "at": place.at,
        "spot": spot,
        "wrong_spot": wrong_spot,
        "part": part,
    }
    set_weather(slots, weather, choice(effects))
    for ending, forms in (("", FEMALE if first_female else MALE), ("2", FEMALE if second_female else MALE)):
        for key, form in forms.items():
            slots[key + ending] = form
        slots["He" + ending] = forms["he"].capitalize()
        slots["His" + ending] = forms["his"].capitalize()
    return slots


def tell(plot: Plot, rng: Random) -> str:
    """One story of this plot: opening, beats, ending, as a single paragraph."""
    slots = cast(rng, outdoors=plot.outdoors)
    plot.fill(rng, slots)
    choice, chance = rng.choice, rng.random
    introduced = chance() < 0.6
    if introduced:
        parts = [choice(INTRODUCTIONS), choice(SCENES_AFTER_INTRODUCTION)]
    else:
        parts = [choice(SCENES_ALONE)]
    if chance() < 0.25:
        parts.append("{effect}")
    for beat in plot.beats:
        if beat.chance == 1.0 or chance() < beat.chance:
            parts.append(choice(beat.ways))
    parts.append(choice(TRAIT_ENDINGS) if introduced and chance() < 0.25 else choice(ENDINGS[plot.theme]))
    return " ".join(parts).format_map(slots)
