"""Laws of seating on slices of several kinds, on drawn counts."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from yolofleet.planning.groups.seats import Kind, Seated, seat

counts = st.integers(0, 6)


@st.composite
def kinds(draw: st.DrawFn, *, resting: bool = False) -> Kind:
    """Draw slices of which those that stand serve, or some of them."""
    seats = draw(counts)
    stands = draw(st.integers(0, seats if resting else 6))
    serves = stands if resting else draw(st.integers(0, stands))
    return Kind(seats, stands, serves, usable=stands > 0 or draw(st.booleans()), dearer=draw(st.booleans()))


others = st.lists(kinds(), max_size=3)
at_rest = st.tuples(kinds(resting=True), st.lists(kinds(resting=True), max_size=3))


def after(made: Seated, own: Kind, rest: list[Kind]) -> tuple[Kind, list[Kind]]:
    """Return the kinds once a decision was carried out, as far as there are slices."""
    there = replace(own, stands=made.own, serves=min(made.own, own.seats))
    return there, [replace(kind, stands=n, serves=n) for kind, n in zip(rest, made.others, strict=True)]


@given(st.integers(0, 20), at_rest)
def test_at_rest_as_many_as_wanted_are_asked_for_and_no_more(wanted: int, told: tuple[Kind, list[Kind]]) -> None:
    own, rest = told
    made = seat(wanted, own, rest)
    assert made.own + sum(made.others) == wanted
    assert all(n <= kind.seats for n, kind in zip(made.others, rest, strict=True))


@given(st.integers(0, 20), kinds(), others)
def test_nobody_waits_while_a_slice_is_free(wanted: int, own: Kind, rest: list[Kind]) -> None:
    made = seat(wanted, own, rest)
    usable = own.seats + sum(kind.seats for kind in rest if kind.usable)
    if wanted <= usable and all(kind.usable for kind in rest):
        assert made.unseated == sum(made.late) == 0
    assert made.unseated == 0 or made.seated >= own.seats


@given(st.integers(0, 20), kinds(), others)
def test_with_room_on_the_own_kind_alone_nothing_goes_elsewhere(wanted: int, own: Kind, rest: list[Kind]) -> None:
    alone = [replace(kind, seats=0, stands=0, serves=0) for kind in rest]
    made = seat(wanted, own, alone)
    assert (made.own, set(made.others) | set(made.late)) == (wanted, {0} if rest else set())
    roomy = replace(own, seats=wanted)
    nobody = [replace(kind, stands=0, serves=0) for kind in rest]
    assert seat(wanted, roomy, nobody).own == wanted


@given(st.integers(0, 20), kinds(), others)
def test_what_was_decided_is_decided_again_once_it_serves(wanted: int, own: Kind, rest: list[Kind]) -> None:
    made = seat(wanted, own, rest)
    for _ in range(2):  # what stayed until others serve in its place goes in the second
        own, rest = after(made, own, rest)
        made = seat(wanted, own, rest)
    assert seat(wanted, *after(made, own, rest)) == made


@given(st.integers(0, 20), kinds(), others, st.booleans())
def test_what_serves_goes_when_others_serve_in_its_place_and_not_before(
    wanted: int, own: Kind, rest: list[Kind], home: bool
) -> None:
    there = [min(kind.stands, kind.seats) for kind in rest]
    own = replace(own, seats=max(own.seats, own.serves))  # who serves has a slice
    made = seat(wanted, own, rest, home=home)
    left = min(made.own, own.serves) + sum(min(n, was) for n, was in zip(made.others, there, strict=True))
    assert left >= min(wanted, own.serves + sum(there))


@given(st.integers(0, 20), at_rest)
def test_the_dearest_go_first(wanted: int, told: tuple[Kind, list[Kind]]) -> None:
    own, rest = told
    made = seat(min(wanted, own.stands + sum(kind.stands for kind in rest)), own, rest)
    stays = [n < kind.stands for n, kind in zip(made.others, rest, strict=True)]
    for at, kind in enumerate(rest[1:], 1):
        assert not stays[at - 1] or made.others[at] == 0 or not kind.stands


@given(at_rest, st.integers(1, 9))
def test_the_own_kind_takes_back_what_is_dearer_elsewhere_and_then_rests(
    told: tuple[Kind, list[Kind]], room: int
) -> None:
    own, rest = told
    wanted = own.stands + sum(kind.stands for kind in rest)
    roomy = replace(own, seats=own.stands + room)
    made = seat(wanted, roomy, rest, home=True)
    dear = sum(kind.stands for kind in rest if kind.dearer)
    assert made.own == own.stands + min(room, dear)
    assert sum(made.others) == wanted - own.stands, "they stay until those in their place serve"
    settled = seat(wanted, *after(made, roomy, rest))
    assert settled.own + sum(settled.others) == wanted
    assert settled.own == made.own
