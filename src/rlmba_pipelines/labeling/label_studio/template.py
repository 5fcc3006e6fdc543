"""What annotators see: a page for the modalities that a sample has, and a task of one sample for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from rlmba_pipelines.ledger import NONE_OF_THESE

FIELD = "label"  # the name of the control that answers
EXPLANATION = "explanation"  # and of the one that takes reasons
STEPS = "why: steps, separated by semicolons"
MANY = 30  # more classes than this are a list to pick from
SHOWN: Mapping[str, tuple[str, Mapping[str, str]]] = {  # modality -> its tag and looks, from top to bottom
    "image": ("Image", {"maxWidth": "480px"}),
    "video": ("Video", {}),
    "audio": ("Audio", {}),
    "text": ("Text", {}),
}


def template(modalities: Sequence[str], classes: Collection[str] | None, *, explained: bool = False) -> str:
    """The labeling interface: why the sample was chosen, its media, and one answer.

    Args:
        modalities: what every task of the project has; Label Studio shows no task that lacks one of them.
        classes: labels that may be given; None while the first batch makes them known: people then type.
        explained: tasks propose a chain of thought (``$proposed``, perhaps empty), and people may give their own.

    Returns:
        XML of Label Studio. Its button "Skip" abstains.
    """
    page = ElementTree.Element("View")
    ElementTree.SubElement(page, "Header", {"value": "$heading", "size": "5"})
    names = [name for name in SHOWN if name in modalities]
    for name in names:
        tag, looks = SHOWN[name]
        ElementTree.SubElement(page, tag, {"name": name, "value": f"${name}", **looks})
    answer = {"name": FIELD, "toName": names[0], "required": "true"}
    if classes is None or any(name.startswith("$") for name in classes):  # which would be the name of a variable
        typed = {"rows": "1", "maxSubmissions": "1", "editable": "true", "placeholder": "the label"}
        ElementTree.SubElement(page, "TextArea", {**answer, **typed})
    else:
        looks = {"layout": "select"} if len(classes) > MANY else {"showInline": "true"}
        choices = ElementTree.SubElement(page, "Choices", {**answer, "choice": "single", **looks})
        for name in [*sorted(classes), NONE_OF_THESE]:
            ElementTree.SubElement(choices, "Choice", {"value": name})
    if explained:
        ElementTree.SubElement(page, "Header", {"value": "$proposed", "size": "6"})
        typed = {"rows": "3", "maxSubmissions": "1", "editable": "true", "placeholder": STEPS}
        ElementTree.SubElement(page, "TextArea", {"name": EXPLANATION, "toName": names[0], **typed})
    return ElementTree.tostring(page, encoding="unicode")


def with_classes(config: str, classes: Collection[str]) -> str:
    """A labeling interface that offers all ``classes``, and is otherwise as people have made it."""
    try:
        page = ElementTree.fromstring(config)
    except ElementTree.ParseError:
        return config
    choices = page.find(f".//Choices[@name='{FIELD}']")
    if choices is None:
        return config
    missing = sorted(set(classes) - {choice.get("value") for choice in choices.iter("Choice")})
    for name in missing:
        ElementTree.SubElement(choices, "Choice", {"value": name})
    return ElementTree.tostring(page, encoding="unicode") if missing else config


def task_of(
    sample: Mapping[str, Any], shown: Mapping[str, str], model: str, *, guess: tuple[str, float] | None
) -> dict[str, Any]:
    """One task.

    Args:
        sample: ``key, sample_id, round, rank, why``, and perhaps ``note`` and ``proposed``.
        shown: modality -> text, or where the server has the medium.
        model: who guesses.
        guess: class and probability, shown as the answer that is there already.
    """
    heading = f"{sample['rank']}. {sample['why']} {sample.get('note', '')}".strip()
    task: dict[str, Any] = {"data": {**sample, "heading": heading, **shown}}
    if guess:
        value = {"choices": [guess[0]]}
        first = next(name for name in SHOWN if name in shown)
        result = [{"from_name": FIELD, "to_name": first, "type": "choices", "value": value}]
        task["predictions"] = [{"model_version": model, "score": guess[1], "result": result}]
    return task
