"""Numbers in plain words: why a sample was chosen, and what each term means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NOTABLE = 0.8  # a term is worth a word when at most a fifth of the pool has more of it
MAX_REASONS = 3

PEOPLE_SAY = {"image": "image", "text": "text", "audio": "sound", "video": "video"}

# Families of terms that say nearly the same; a sentence takes the strongest of each and keeps the order below.
FAMILIES: tuple[Mapping[str, str], ...] = (
    {
        "margin": "the model wavers between two classes",
        "entropy": "the model hesitates between many classes",
        "dissonance": "the evidence points to several classes at once",
        "uncertainty": "the model is unsure",
    },
    {
        "vacuity": "the model has little evidence for any class",
        "mutual_information": "the members of the ensemble disagree",
        "bald": "the members of the ensemble disagree",
    },
    {"conflict": "{pair} disagree"},
    {"margin_*": "{modality} alone leaves it open"},
    {
        "distance": "unlike anything labeled so far",
        "typicality": "it is typical of a group that has no label yet",
        "coverage_gain": "it stands for many samples that nothing labeled covers yet",
    },
    {
        "gradient_norm": "its label would move the model a lot",
        "fisher_gain": "its label would settle much of what the model is unsure of",
        "flips": "mixed with labeled samples it changes its class",
    },
)

GLOSSARY = {
    "margin": "How close the two most likely classes are; 1 is a tie.",
    "entropy": "How widely the prediction is spread over the classes.",
    "conflict": "How firmly the modalities, each on its own, favor different classes.",
    "vacuity": "How little evidence there is for any class; 1 is none at all.",
    "dissonance": "How evenly strong evidence is split between classes.",
    "mutual_information": "How much the members of the ensemble disagree; labels can settle this.",
    "uncertainty": "The model's overall uncertainty.",
    "coverage_gain": "How much closer the pool comes to something labeled.",
    "distance": "How far it lies from everything labeled.",
    "gradient_norm": "How strongly its label would change the model.",
    "bald": "How much the members of the ensemble disagree; labels can settle this.",
    "joint": "What the batch up to here tells together, in nats.",
    "boundary_distance": "How far it lies from the nearest border between two classes; small is in doubt.",
    "prediction_distance": "How far its prediction lies from those chosen before it.",
    "fisher_gain": "How much of the model's uncertainty over the pool its label would settle.",
    "flips": "How many labeled classes, mixed in a little, change its predicted class.",
    "typicality": "How close it lies to its neighbors; high is typical of its group.",
    "cluster_size": "How many samples its group holds.",
    "newly_covered": "How many samples it brings within reach of a label.",
    "confidence": "The probability of the likeliest class.",
    "arm": "Which of the strategies chose it.",
    "q": "The score of the published rule: uncertainty and distance, weighted.",
}
UNIMODAL = ("margin", "entropy", "vacuity")  # terms that exist for each modality alone, as ``<term>_<modality>``


def modality_name(modality: str) -> str:
    """How people call a modality.

    >>> modality_name("audio")
    'the sound'
    """
    return f"the {PEOPLE_SAY.get(modality, modality)}"


def term_name(term: str) -> str:
    """A column's name, readable.

    >>> term_name("margin_audio"), term_name("mutual_information")
    ('margin, sound alone', 'mutual information')
    """
    stem, _, modality = term.rpartition("_")
    if stem in UNIMODAL:
        return f"{stem}, {PEOPLE_SAY.get(modality, modality)} alone"
    if stem == "weight":
        return f"weight of {modality_name(modality)}"
    return term.replace("_", " ")


def term_meaning(term: str) -> str:
    """What a column measures, one sentence; empty for a column that nobody described.

    >>> term_meaning("vacuity_image")
    'How little evidence there is for any class; 1 is none at all. Here for the image alone.'
    """
    stem, _, modality = term.rpartition("_")
    if stem in UNIMODAL:
        return f"{GLOSSARY[stem]} Here for {modality_name(modality)} alone."
    if stem == "weight":
        return f"How much {modality_name(modality)} counted in the choice."
    return GLOSSARY.get(term, "")


def explain(terms: Mapping[str, float], percentiles: Mapping[str, float], modalities: Sequence[str]) -> str:
    """Why a sample was chosen: at most three reasons in one sentence.

    A term becomes a reason when it is above 0 and higher than in 80 % of the pool at that moment; a term without a
    percentile (a gain is known for chosen samples only) is named when nothing else is. The margin also has to be
    truly small: a sample that is merely less clear than a clear pool does not waver.

    Args:
        terms: column -> value, higher = more worth labeling. Unknown columns are ignored.
        percentiles: column -> share in [0, 1] of the pool that has less of it.
        modalities: modalities of the sample.

    Raises:
        ValueError: a percentile outside [0, 1].

    >>> explain({"margin": 0.9, "conflict": 0.4}, {"margin": 0.97, "conflict": 0.9}, ["image", "audio"])
    'The model wavers between two classes; image and sound disagree.'
    >>> explain({}, {}, ["image"])
    'Drawn at random.'
    """
    for name, rank in percentiles.items():
        if not 0 <= rank <= 1:
            raise ValueError(f"explain: the percentile of {name!r} must be in [0, 1], got {rank}")
    known = {name for family in FAMILIES for name in _members(family, modalities) if name in terms}
    if not known:
        return "Drawn at random."
    true = {name for name in known if _holds(name, terms[name], modalities)}
    found: list[tuple[float, int, str]] = []
    for place, family in enumerate(FAMILIES):
        ranked = [(percentiles.get(name, 0.0), name) for name in _members(family, modalities) if name in true]
        rank, name = max(ranked, key=lambda pair: pair[0], default=(0.0, ""))
        if rank >= NOTABLE:
            found.append((rank, place, name))
    strongest = sorted(found, key=lambda reason: (-reason[0], reason[1]))[:MAX_REASONS]
    clauses = [_clause(name, terms, modalities) for _, _, name in sorted(strongest, key=lambda reason: reason[1])]
    if not clauses:
        unranked = [name for name in FAMILIES[4] if name in true and name not in percentiles]
        clauses = [_clause(name, terms, modalities) for name in unranked[:1]] or [
            "no single sign stands out, several add up"
        ]
    sentence = "; ".join(clauses)
    return sentence[0].upper() + sentence[1:] + "."


def _members(family: Mapping[str, str], modalities: Sequence[str]) -> list[str]:
    """Columns of a family, ``margin_*`` spelled out."""
    return [f"margin_{m}" for m in modalities] if "margin_*" in family else list(family)


def _holds(name: str, value: float, modalities: Sequence[str]) -> bool:
    if len(modalities) < 2 and (name == "conflict" or name.startswith("margin_")):
        return False
    if name == "margin" or name.startswith("margin_"):
        return value >= 0.5
    return value > 0


def _clause(name: str, terms: Mapping[str, float], modalities: Sequence[str]) -> str:
    if name == "conflict":
        return FAMILIES[2][name].format(pair=listed([PEOPLE_SAY.get(m, m) for m in modalities]))
    if not name.startswith("margin_"):
        return next(family[name] for family in FAMILIES if name in family)
    modality = name.removeprefix("margin_")
    clause = FAMILIES[3]["margin_*"].format(modality=modality_name(modality))
    weights = {m: terms.get(f"weight_{m}", 0.0) for m in modalities}
    heaviest = all(weights[modality] > weight for m, weight in weights.items() if m != modality)
    return f"{clause}, and it counts most now" if heaviest and len(modalities) > 1 else clause


def listed(names: Sequence[str]) -> str:
    """Names as a person lists them.

    >>> listed(["image", "text", "sound"]), listed(["image"])
    ('image, text and sound', 'image')
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
