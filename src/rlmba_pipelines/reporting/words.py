"""Numbers in plain words: why a sample was chosen, and what each term means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NOTABLE = 0.8  # a term is worth a word when at most a fifth of the pool has more of it
RARE = 2.0  # so many times rarer than an average class is a class that the pool has little of
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
    },
    {"rarity": "it looks like a class that the pool has little of"},
    {
        "gradient_norm": "its label would move the model a lot",
    },
    {"visual": "small changes of the image change the answer"},
    {"language": "read in another way, the question has another answer"},
    {
        "reasoning": "its chains of thought leave the answer open",
        "vote_entropy": "its chains of thought lead to different answers",
    },
)

# What a column of a strategy's own says of a sample that it chose, where the value is above 0 and nothing stands out in
# the pool. A strategy's first column in this order is told.
OWN_SIGNS: Mapping[str, str] = {
    "q": "drawn from the samples that are most uncertain and most isolated",
    "arm": "one of several strategies asked for it",
    "rank": "several scores together rank it high",
    "found_by": "in the order of one class, it lies where the labels change",
    "flips": "mixed with labeled samples it changes its class",
    "changed": "its class changes when features are dropped",
    "boundary_distance": "it lies close to a border between two classes",
    "confidence": "its likeliest class is less likely than elsewhere in the pool",
    "cluster_candidates": "it is among the least clear of the pool, and every group has its turn",
    "fisher_gain": "its label would settle much of what the model is unsure of",
    "prediction_distance": "its prediction is unlike those chosen before it",
    "distance": "unlike anything labeled so far",
    "typicality": "it is typical of its group",
    "coverage_gain": "it stands for samples that nothing labeled covers yet",
    "labeled_score": "a graph network cannot tell whether it is labeled",
    "gradient_norm": "its label would move the model in a way of its own",
}
ALWAYS_TOLD = ("bald", "rarity")  # no terms of the pool, and the reason itself where a strategy looked at them
HOLDS_AT_ZERO = {"arm", "boundary_distance"}
FILLED_AT_RANDOM = ("found_by", "flips", "changed")  # 0 where a strategy had nothing left to ask for

GLOSSARY = {
    "margin": "How close the two most likely classes are; 1 is a tie.",
    "entropy": "How widely the prediction is spread over the classes.",
    "conflict": "How firmly the modalities, each on its own, favor different classes.",
    "vacuity": "How little evidence there is for any class; 1 is none at all.",
    "dissonance": "How evenly strong evidence is split between classes.",
    "mutual_information": "How much the members of the ensemble disagree; labels can settle this.",
    "uncertainty": "The model's overall uncertainty.",
    "coverage_gain": "How much closer the pool comes to something labeled.",
    "rarity": "How many times rarer than an average class of the pool the class is that it looks like.",
    "distance": "How far it lies from everything labeled.",
    "gradient_norm": "How strongly its label would change the model.",
    "bald": "How much the members of the ensemble disagree; labels can settle this.",
    "joint": "1 where it was chosen by what the batch tells together, 0 by itself.",
    "exact": "1 where that was computed, 0 where it was estimated.",
    "boundary_distance": "How far it lies from the nearest border between two classes; small is in doubt.",
    "prediction_distance": "How far its prediction lies from those chosen before it.",
    "fisher_gain": "How much of the model's uncertainty over the pool its label would settle.",
    "flips": "1 where a little of a labeled class, mixed in, changes its predicted class.",
    "cap": "How much of a labeled class it takes to change its predicted class.",
    "changed": "Share of predictions that change when features are dropped.",
    "center_distance": "How far it lies from the center of its group.",
    "head_r_squared": "How well a linear head stands in for the model, the same for the whole batch; 1 is exact.",
    "typicality": "How close it lies to its neighbors; high is typical of its group.",
    "cluster": "Number of its group.",
    "cluster_size": "How many samples its group holds.",
    "cluster_candidates": "How many of the least clear samples its group holds.",
    "cluster_labels": "How many labels its group had.",
    "newly_covered": "How many samples it brings within reach of a label.",
    "layer": "How often the whole pool was covered before it was chosen.",
    "delta": "How near samples must lie to cover one another.",
    "confidence": "The probability of the likeliest class.",
    "relevance": "Doubt and distance together, which the draw went by.",
    "class": "Number of the class in whose order it was found.",
    "class_margin": "How far that class lies behind the likeliest one; 0 is no distance.",
    "path": "Steps between the differently labeled samples that it was found between.",
    "found_by": "2 between differently labeled samples, 1 beside such a place, 0 at random.",
    "labeled_score": "How sure a graph network is that it is labeled.",
    "arm": "Which of the strategies chose it.",
    "expected_reward": "What that strategy was expected to find, by its batches so far.",
    "arm_utility": "The score that this strategy gave it.",
    "q": "The score of the published rule: uncertainty and distance, weighted.",
    "visual": "Nats by which chain and answer move when a small part of the image loses its detail.",
    "language": "Nats by which chain and answer move between readings of the question.",
    "reasoning": "Nats of the answer that stay open once the steps are written.",
    "vote_entropy": "How widely the answers of the chains are spread; 1 is each its own.",
    "boundary": "1 where two answers share the votes of the chains.",
    "steps": "Steps of a chain of thought, on average.",
    "depth": "Share of chains with two steps or more.",
    "isolation": "How far it lies from the center of its group, as a share of the farthest.",
}
PARTS = {  # of columns ``<part>_<of what>``
    "rank": "Place in the pool by one of several scores; 1 is the highest.",
    "share": "How much of the prediction one modality has.",
    "score": "How its draw moves the policy.",
}
UNIMODAL = ("margin", "entropy", "uncertainty", "vacuity")  # terms of each modality alone too, as ``<term>_<modality>``


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
    return GLOSSARY.get(term) or PARTS.get(term.partition("_")[0], "")


def explain(terms: Mapping[str, float], percentiles: Mapping[str, float], modalities: Sequence[str]) -> str:
    """Why a sample was chosen: at most three reasons in one sentence.

    A term becomes a reason when it is above 0 and higher than in 80 % of the pool at that moment; a column without a
    percentile (a gain is known for chosen samples only) is named when nothing else is. The margin also has to be
    truly small: a sample that is merely less clear than a clear pool does not waver.

    Args:
        terms: what the strategy looked at, column -> value; none: it drew at random. Columns that nobody put into words
            are no reasons.
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
    if not terms:
        return "Drawn at random."
    true = {
        name
        for family in FAMILIES
        for name in _members(family, modalities)
        if name in terms and _holds(name, terms[name], modalities)
    }
    found: list[tuple[float, int, str]] = []
    for place, family in enumerate(FAMILIES):
        members = [name for name in _members(family, modalities) if name in true]
        ranked = [(percentiles.get(name, float(name in ALWAYS_TOLD)), name) for name in members]
        rank, name = max(ranked, key=lambda pair: pair[0], default=(0.0, ""))
        if rank >= NOTABLE:
            found.append((rank, place, name))
    strongest = sorted(found, key=lambda reason: (-reason[0], reason[1]))[:MAX_REASONS]
    clauses = [_clause(name, terms, modalities) for _, _, name in sorted(strongest, key=lambda reason: reason[1])]
    sentence = "; ".join(clauses) or _own_sign(terms, percentiles)
    return sentence[0].upper() + sentence[1:] + "."


def _own_sign(terms: Mapping[str, float], percentiles: Mapping[str, float]) -> str:
    """What the strategy's own columns say, where no term stands out in the pool."""
    own = {name: value for name, value in terms.items() if name not in percentiles}
    own["rank"] = max((value for name, value in own.items() if name.startswith("rank_")), default=0.0)
    if any(own.get(name) == 0 for name in FILLED_AT_RANDOM):
        return "drawn at random"
    for name, sign in OWN_SIGNS.items():
        if own.get(name, 0.0) > 0 or name in own.keys() & HOLDS_AT_ZERO:
            return "it is typical of a group that has no label yet" if own.get("cluster_labels") == 0 else sign
    looked_at = [name for name in terms if not name.startswith("weight_")]
    return "no single sign stands out" + (", several add up" if len(looked_at) > 1 else "")


def _members(family: Mapping[str, str], modalities: Sequence[str]) -> list[str]:
    """Columns of a family, ``margin_*`` spelled out."""
    return [f"margin_{m}" for m in modalities] if "margin_*" in family else list(family)


def _holds(name: str, value: float, modalities: Sequence[str]) -> bool:
    if len(modalities) < 2 and (name == "conflict" or name.startswith("margin_")):
        return False
    if name == "margin" or name.startswith("margin_"):
        return value >= 0.5
    return value >= RARE if name == "rarity" else value > 0


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
