"""When a turn on the radio is over."""

from adapters.ble.turn import AFTERWARDS_S, FAULTS_MAX, Turn, TurnEnd


def turn(*, others: bool) -> Turn:
    return Turn(began_s=0.0, turn_max_s=60.0, others_wait=lambda: others)


def test_camera_that_said_what_it_had_to_say_gives_way() -> None:
    mine = turn(others=True)
    assert mine.ended(1.0, settled=True, faults_in_a_row=0) is None
    assert mine.ended(1.0 + AFTERWARDS_S, settled=True, faults_in_a_row=0) is TurnEnd.GAVE_WAY


def test_camera_that_began_again_keeps_its_turn() -> None:
    mine = turn(others=True)
    mine.ended(1.0, settled=True, faults_in_a_row=0)
    assert mine.ended(1.2, settled=False, faults_in_a_row=0) is None
    assert mine.ended(1.0 + AFTERWARDS_S, settled=True, faults_in_a_row=0) is None


def test_camera_keeps_its_link_while_nobody_waits() -> None:
    mine = turn(others=False)
    mine.ended(1.0, settled=True, faults_in_a_row=0)
    assert mine.ended(1e6, settled=True, faults_in_a_row=0) is None


def test_spent_turn_ends_in_the_middle_of_a_picture() -> None:
    assert turn(others=True).ended(60.0, settled=False, faults_in_a_row=0) is TurnEnd.GAVE_WAY


def test_camera_that_sends_only_damage_is_let_go() -> None:
    assert turn(others=False).ended(1.0, settled=False, faults_in_a_row=FAULTS_MAX) is TurnEnd.ONLY_DAMAGE
