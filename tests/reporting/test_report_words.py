"""Why a sample was chosen, in exact sentences."""

import pytest

from rlmba_pipelines.reporting.words import FAMILIES, GLOSSARY, OWN_SIGNS, explain, term_meaning

MODALITIES = ("image", "text", "audio")


@pytest.mark.parametrize(
    ("terms", "percentiles", "modalities", "sentence"),
    [
        ({}, {}, MODALITIES, "Drawn at random."),
        ({"a_column_of_tomorrow": 3.0}, {"a_column_of_tomorrow": 1.0}, MODALITIES, "No single sign stands out."),
        (
            {"margin": 0.93, "conflict": 0.4, "distance": 1.2},
            {"margin": 0.99, "conflict": 0.9, "distance": 0.95},
            ("image", "audio"),
            "The model wavers between two classes; image and sound disagree; unlike anything labeled so far.",
        ),
        ({"conflict": 0.4}, {"conflict": 0.9}, MODALITIES, "Image, text and sound disagree."),
        ({"entropy": 2.1}, {"entropy": 0.8}, MODALITIES, "The model hesitates between many classes."),
        ({"dissonance": 0.4}, {"dissonance": 0.9}, MODALITIES, "The evidence points to several classes at once."),
        ({"uncertainty": 0.4}, {"uncertainty": 0.9}, MODALITIES, "The model is unsure."),
        ({"vacuity": 0.9}, {"vacuity": 0.9}, MODALITIES, "The model has little evidence for any class."),
        ({"mutual_information": 0.2}, {"mutual_information": 0.9}, MODALITIES, "The members of the ensemble disagree."),
        ({"gradient_norm": 3.0}, {"gradient_norm": 0.9}, MODALITIES, "Its label would move the model a lot."),
        ({"margin_audio": 0.8}, {"margin_audio": 0.9}, MODALITIES, "The sound alone leaves it open."),
        (
            {"margin_audio": 0.8, "weight_audio": 0.5, "weight_image": 0.3, "weight_text": 0.2},
            {"margin_audio": 0.9},
            MODALITIES,
            "The sound alone leaves it open, and it counts most now.",
        ),
        ({"coverage_gain": 0.01}, {}, MODALITIES, "It stands for samples that nothing labeled covers yet."),
        ({"rarity": 1.9}, {}, MODALITIES, "No single sign stands out."),
        ({"rarity": 2.0}, {}, MODALITIES, "It looks like a class that the pool has little of."),
        ({"margin": 0.6}, {"margin": 0.79}, MODALITIES, "No single sign stands out."),
        ({"margin": 0.6, "conflict": 0.1}, {"margin": 0.7}, MODALITIES, "No single sign stands out, several add up."),
        (
            {"uncertainty": 0.9, "fisher_gain": 0.2},
            {},
            MODALITIES,
            "Its label would settle much of what the model is unsure of.",
        ),
        ({"flips": 0.0, "cap": 1.0}, {}, MODALITIES, "Drawn at random."),
        ({"typicality": 2.0, "cluster_labels": 0.0}, {}, MODALITIES, "It is typical of a group that has no label yet."),
        ({"typicality": 2.0, "cluster_labels": 3.0}, {}, MODALITIES, "It is typical of its group."),
        ({"arm": 0.0}, {}, MODALITIES, "One of several strategies asked for it."),
        ({"rank_margin": 0.9, "rank_bald": 0.2}, {}, MODALITIES, "Several scores together rank it high."),
    ],
)
def test_a_sentence_says_what_the_terms_say(terms, percentiles, modalities, sentence):
    assert explain(terms, percentiles, modalities) == sentence


def test_at_most_three_reasons_and_the_strongest_win():
    columns = {"margin": 0.81, "vacuity": 0.99, "conflict": 0.98, "distance": 0.97, "gradient_norm": 0.82}
    assert explain(columns, columns, MODALITIES) == (
        "The model has little evidence for any class; image, text and sound disagree; unlike anything labeled so far."
    )


def test_terms_that_say_the_same_are_said_once():
    columns = {"margin": 0.9, "entropy": 0.95, "uncertainty": 0.9}
    assert explain(columns, columns, MODALITIES) == "The model hesitates between many classes."


@pytest.mark.parametrize("terms", [{"margin": 0.3}, {"conflict": 0.0}, {"margin_text": 0.0}])
def test_the_highest_value_of_a_clear_pool_is_no_reason(terms):
    assert explain(terms, dict.fromkeys(terms, 1.0), MODALITIES) == "No single sign stands out."


def test_one_modality_neither_disagrees_with_itself_nor_stands_alone():
    columns = {"conflict": 0.9, "margin_image": 0.9}
    assert explain(columns, columns, ("image",)) == "No single sign stands out, several add up."


def test_the_order_of_columns_does_not_matter():
    columns = {"margin": 0.9, "conflict": 0.9, "distance": 0.9, "gradient_norm": 0.9}
    backwards = dict(reversed(columns.items()))
    assert explain(columns, columns, MODALITIES) == explain(backwards, backwards, MODALITIES)


@pytest.mark.parametrize("rank", [1.5, -0.1, float("nan")])
def test_a_percentile_is_a_share(rank):
    with pytest.raises(ValueError, match="percentile of 'margin'"):
        explain({"margin": 0.9}, {"margin": rank}, MODALITIES)


def test_every_term_that_is_spoken_of_is_explained():
    spoken = {name for family in FAMILIES for name in family} - {"margin_*"}
    assert spoken | set(OWN_SIGNS) - {"rank"} <= set(GLOSSARY)
    alone = ["margin_text", "entropy_audio", "vacuity_image", "weight_video"]
    assert all(term_meaning(name) for name in [*spoken, *alone])
