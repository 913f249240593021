"""Reasons are one closed list of words that fit a condition, an event and a metric's label."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from yolofleet.api.conditions import Condition, Reason


@pytest.mark.parametrize("reason", Reason)
def test_reason_is_one_word_in_the_form_that_kubernetes_asks_for(reason: Reason) -> None:
    assert re.fullmatch("([A-Z][a-z]+)+", reason)
    assert Condition(type="Ready", status="False", reason=reason).reason == reason


@pytest.mark.parametrize("reason", Reason)
def test_reason_is_named_as_it_reads(reason: Reason) -> None:
    assert reason.name.replace("_", "").lower() == reason.value.lower()


@pytest.mark.parametrize("reason", ["", "not serving", "notServing", "Not-Serving", "N" * 65])
def test_other_words_do_not_fit_a_condition(reason: str) -> None:
    with pytest.raises(ValidationError):
        Condition(type="Ready", status="False", reason=reason)


def test_status_has_three_values() -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate({"type": "Ready", "status": True, "reason": "Serving"})
