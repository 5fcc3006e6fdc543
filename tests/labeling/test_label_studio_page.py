"""What people see on an annotation server, and what they said there."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from rlmba_pipelines.labeling.label_studio import answers_of, has_field, task_of, template, with_classes
from rlmba_pipelines.ledger import ABSTAINED, NONE_OF_THESE


def page_of(*modalities: str, classes: Any = ("a", "b")) -> ElementTree.Element:
    return ElementTree.fromstring(template(modalities, classes))


def test_the_page_shows_exactly_the_modalities_there_are_and_asks_for_one_label() -> None:
    page = page_of("text", "audio", "image", "video")
    assert [item.tag for item in page] == ["Header", "Image", "Video", "Audio", "Text", "Choices"]
    assert {item.get("value") for item in page[1:5]} == {"$image", "$video", "$audio", "$text"}
    assert (page[5].get("choice"), page[5].get("required"), page[5].get("toName")) == ("single", "true", "image")
    assert [item.tag for item in page_of("audio")] == ["Header", "Audio", "Choices"]


def test_classes_are_offered_whatever_is_in_their_names() -> None:
    names = ['<b> & "c"', "ä ö", "x" * 200]
    offered = [choice.get("value") for choice in page_of("text", classes=names).iter("Choice")]
    assert offered == [*sorted(names), NONE_OF_THESE]


def test_people_type_where_no_class_is_known_and_where_one_would_be_taken_for_a_variable() -> None:
    assert page_of("text", classes=None)[-1].tag == "TextArea"
    assert page_of("text", classes=["a", "$5"])[-1].tag == "TextArea"
    assert page_of("text", classes=[str(i) for i in range(31)])[-1].get("layout") == "select"


def test_where_people_explain_the_page_proposes_a_chain_and_takes_their_own_which_nobody_has_to_give() -> None:
    page = ElementTree.fromstring(template(["image", "text"], ("a", "b"), explained=True))
    assert [item.tag for item in page] == ["Header", "Image", "Text", "Choices", "Header", "TextArea"]
    assert page[4].get("value") == "$proposed"
    assert (page[5].get("name"), page[5].get("toName"), page[5].get("required")) == ("explanation", "image", None)


def test_new_classes_join_a_page_that_people_have_made_their_own() -> None:
    own = '<View><Style>.x{}</Style><Choices name="label" toName="t"><Choice value="a" hotkey="1" /></Choices></View>'
    page = ElementTree.fromstring(with_classes(own, ["a", "b"]))
    assert [choice.attrib for choice in page.iter("Choice")] == [{"value": "a", "hotkey": "1"}, {"value": "b"}]
    assert page[0].tag == "Style"
    for left_alone in (own.replace('"label"', '"other"'), "<View>", with_classes(own, ["a", "b"])):
        assert with_classes(left_alone, ["a", "b"]) == left_alone


def test_a_task_tells_rank_and_reason_and_holds_the_guess_as_an_answer_with_its_probability() -> None:
    facts = {"key": "k", "sample_id": "s1", "round": 2, "rank": 3, "why": "The model wavers.", "note": ""}
    task = task_of(facts, {"audio": "/a.wav", "text": "hm"}, "round_02", guess=("a", 0.25))
    assert task["data"] == {**facts, "heading": "3. The model wavers.", "audio": "/a.wav", "text": "hm"}
    (guess,) = task["predictions"]
    assert (guess["model_version"], guess["score"]) == ("round_02", 0.25)
    assert guess["result"] == [
        {"from_name": "label", "to_name": "audio", "type": "choices", "value": {"choices": ["a"]}}
    ]
    assert "predictions" not in task_of(facts, {"text": "hm"}, "round_02", guess=None)


def annotation(number: int, **said: Any) -> dict[str, Any]:
    usual = {"completed_by": 2, "was_cancelled": False, "result": [], "updated_at": "2031-01-01", "lead_time": 1.5}
    return {"id": number, **usual, **said}


def test_an_explanation_is_no_label() -> None:
    def said(field: str, *words: str) -> dict[str, Any]:
        return {"from_name": field, "type": "textarea", "value": {"text": list(words)}}

    both = [said("explanation", "shape red", "no blue"), said("label", "yes")]
    tasks = [{"id": 1, "data": {}, "annotations": [annotation(1, result=both), annotation(2, result=both[:1])]}]
    rows = answers_of(tasks, {})
    why = "shape red; no blue"
    assert [(row["label"], row["explanation"]) for row in rows] == [("yes", why), ("", why)]
    assert has_field(tasks[0]["annotations"][0])
    assert not has_field(tasks[0]["annotations"][1])


def test_annotations_become_rows_in_the_order_of_the_server_and_a_skip_is_an_abstention() -> None:
    def chosen(*labels: str) -> list[dict[str, Any]]:
        return [{"from_name": "label", "type": "choices", "value": {"choices": list(labels)}}]

    typed = [{"from_name": "label", "type": "textarea", "value": {"text": [" red\0 "]}}]
    tasks = [
        {"id": 1, "data": {"sample_id": "b"}, "annotations": [annotation(9, result=chosen("x"), completed_by=77)]},
        {"id": 2, "data": {"sample_id": "a"}, "annotations": [annotation(4, was_cancelled=True), annotation(5)]},
        {"id": 3, "data": {}, "annotations": [annotation(6, result=chosen("x", "y")), annotation(7, result=typed)]},
    ]
    rows = answers_of(tasks, {2: "ann@example.com"})
    assert [(row["annotation"], row["sample_id"], row["label"]) for row in rows] == [
        (4, "a", ABSTAINED),
        (5, "a", ""),
        (6, "", "x, y"),
        (7, "", "red?"),
        (9, "b", "x"),
    ]
    assert [row["annotator"] for row in rows] == ["ann@example.com"] * 4 + ["user 77"]
    assert (rows[0]["answered_at"], rows[0]["seconds"]) == ("2031-01-01", 1.5)
    assert has_field(annotation(1, was_cancelled=True))
    assert not has_field(annotation(1))
    assert not has_field(annotation(1, result=[{"from_name": "other", "value": {"choices": ["x"]}}]))
