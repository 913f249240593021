"""What the client is told survives the way to it, whatever the classes are called."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo_builder.heads import ULTRALYTICS_TASK, Head, derived, mismatch
from model_repo_builder.metadata import (
    BadMetadataError,
    Facts,
    anonymous,
    class_names,
    facts_from,
    from_json,
    literal,
    parse_props,
    triton_metadata,
)
from yolofleet.api.recipe import ImageSize, Task

TASKS: list[Task] = ["Detect", "Segment", "Pose", "OBB", "Classify"]
NAMES = st.lists(st.text(max_size=30), min_size=1, max_size=20)


@st.composite
def heads(draw: st.DrawFn) -> Head:
    task = draw(st.sampled_from(TASKS))
    classes = draw(st.integers(1, 20))
    keypoints = draw(st.tuples(st.integers(1, 20), st.sampled_from([2, 3]))) if task == "Pose" else None
    masks = draw(st.integers(1, 64)) if task == "Segment" else 0
    return Head(
        task=task,
        classes=classes,
        keypoints=keypoints,
        masks=masks,
        end_to_end=task != "Classify" and draw(st.booleans()),
    )


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    head = draw(heads())
    names = draw(st.lists(st.text(max_size=30), min_size=head.classes, max_size=head.classes))
    texts = draw(st.dictionaries(st.sampled_from(["description", "version", "license"]), st.text(max_size=40)))
    return Facts(head=head, names=tuple(names), stride=draw(st.sampled_from([32, 64])), texts=texts)


def shapes_of(head: Head, anchors: int = 8400) -> tuple[tuple[int, ...], ...]:
    if head.task == "Classify":
        return ((head.classes,),)
    boxes = (300, 6 + head.extra()) if head.end_to_end else (4 + head.classes + head.extra(), anchors)
    return (boxes, (head.masks, 160, 160)) if head.task == "Segment" else (boxes,)


@given(facts())
def test_metadata_is_a_python_literal_that_reads_back(told: Facts) -> None:
    """The client reads it with ast.literal_eval, and JSON's true would not pass."""
    metadata = triton_metadata(told, ImageSize(height=640, width=480))
    assert ast.literal_eval(literal(metadata)) == metadata


@given(facts())
def test_metadata_survives_the_manifest(told: Facts) -> None:
    """Class numbers are numbers again after JSON."""
    metadata = triton_metadata(told, ImageSize())
    assert from_json(json.loads(json.dumps(metadata))) == metadata


@given(facts())
def test_the_endpoint_never_pads_nor_sends_rectangles(told: Facts) -> None:
    """U4: batch 1, and dynamic False."""
    metadata = triton_metadata(told, ImageSize())
    assert metadata["batch"] == 1
    assert metadata["args"]["dynamic"] is False
    assert metadata["task"] == ULTRALYTICS_TASK[told.head.task]


@given(facts())
def test_what_an_onnx_file_carries_is_what_was_known(told: Facts) -> None:
    """metadata_props are text, as ultralytics writes them; reading them gives the facts back."""
    props = {key: str(value) for key, value in triton_metadata(told, ImageSize()).items()}
    read = facts_from(parse_props(props), masks=told.head.masks)
    assert read.head == told.head
    assert read.names == told.names


@given(heads())
def test_a_head_agrees_with_its_own_shapes(head: Head) -> None:
    assert mismatch(head, shapes_of(head)) is None


@given(heads(), heads())
def test_a_head_disagrees_with_shapes_of_another_width(one: Head, other: Head) -> None:
    if shapes_of(one) != shapes_of(other):
        assert mismatch(one, shapes_of(other)) is not None


@given(heads().filter(lambda head: not head.end_to_end and (head.task != "Pose" or head.classes == 1)))
def test_a_raw_head_is_derived_from_its_shapes(head: Head) -> None:
    """A pose head is taken to know one class; its keypoints have three numbers where three divides them."""
    found = derived(head.task, shapes_of(head))
    assert found is not None
    assert found.extra() == head.extra()
    assert found.classes == head.classes


@pytest.mark.parametrize(
    ("task", "shapes", "classes", "end_to_end"),
    [
        ("Detect", ((84, 8400),), 80, False),
        ("Detect", ((300, 6),), 1, True),
        ("Segment", ((116, 8400), (32, 160, 160)), 80, False),
        ("Segment", ((300, 38), (32, 160, 160)), 1, True),
        ("Pose", ((56, 8400),), 1, False),
        ("OBB", ((20, 21504),), 15, False),
        ("OBB", ((300, 7),), 1, True),
        ("Classify", ((1000,),), 1000, False),
    ],
)
def test_known_shapes_are_derived(task: Task, shapes: Any, classes: int, end_to_end: bool) -> None:
    head = derived(task, shapes)
    assert head is not None
    assert (head.classes, head.end_to_end) == (classes, end_to_end)


@pytest.mark.parametrize(
    ("task", "shapes"),
    [
        ("Detect", ((84, 8400), (32, 160, 160))),
        ("Detect", ((1000,),)),
        ("Detect", ((4, 8400),)),
        ("Segment", ((84, 8400),)),
        ("Segment", ((30, 8400), (32, 160, 160))),
        ("Pose", ((5, 8400),)),
        ("Classify", ((84, 8400),)),
        ("Detect", ()),
    ],
)
def test_shapes_of_another_task_are_not_derived(task: Task, shapes: Any) -> None:
    assert derived(task, shapes) is None


def test_a_model_without_names_gets_numbered_ones() -> None:
    assert anonymous(Head(task="Detect", classes=2)).names == ("class0", "class1")


@pytest.mark.parametrize(
    "names", [{}, [], None, "abc", {0: "a", 2: "b"}, {"a": "b"}, dict.fromkeys(range(20_001), "x")]
)
def test_wrong_names_are_told(names: Any) -> None:
    with pytest.raises(BadMetadataError, match="names"):
        class_names(names)


@given(st.text(max_size=200))
def test_any_text_as_metadata_is_read_or_told(value: str) -> None:
    """Nothing else than BadMetadataError comes out, and nothing is run."""
    try:
        facts_from(parse_props({"task": "detect", "names": value, "stride": value}))
    except BadMetadataError:
        return


def test_deep_metadata_is_told_not_crashed_on() -> None:
    with pytest.raises(BadMetadataError):
        parse_props({"names": "[" * 100_000})
