"""Waivers take what was not reached and is named, with a reason; one that takes nothing is an error."""

import pytest

from latte.golden.errors import LatteError
from latte.sim.coverage.branches import text_of, written_branches
from latte.sim.coverage.instrument import Counts, Toggles
from latte.sim.coverage.netlist import Net
from latte.sim.coverage.outcome import Share, by_file, total, unmet
from latte.sim.coverage.waivers import apply_waivers, read_waivers

FILE = "rtl/common/job_sequencer.py"
NET, OTHER = Net(FILE, "keys", ""), Net(FILE, "held", "")


def counts():
    """Return two branches of which one was taken, and signals of which some bits did not toggle."""
    first, second = [branch for branch in written_branches() if branch.file == FILE][:2]
    return Counts({first: 4, second: 0}, {NET: Toggles(8, 0b0011_1111, 0b0011_0011), OTHER: Toggles(2, 0, 3)}), second


def written(tmp_path, text):
    (tmp_path / "waivers.toml").write_text(text)
    return read_waivers(tmp_path / "waivers.toml")


def test_what_is_not_reached_is_taken(tmp_path):
    measured, branch = counts()
    waivers = written(tmp_path, f"""
        [[toggle]]
        file = "rtl/common/*.py"
        signal = "key*"
        bits = [2, 3]
        every = 4
        reason = "no such keys"
        [[branch]]
        file = "{FILE}"
        text = '{text_of(branch).replace("[", "?")}'
        reason = "never"
        """)
    waived = apply_waivers(waivers, measured, whole=True)
    assert waived.toggles == {NET: (0b1100_0000, 0b1100_1100)} and waived.branches == {branch}
    assert list(waived.uses.values()) == [6, 1]
    branches, edges = by_file(measured, waived)[FILE]
    assert branches == Share(1, 1, 1) and edges == Share(12, 14, 6) and branches.percent == 100


@pytest.mark.parametrize("what", ['signal = "nothing"', 'signal = "keys"\nbits = [0, 1]'])
def test_a_waiver_that_takes_nothing_is_refused(what, tmp_path):
    """Because it names nothing, or because all that it names was reached; unless only a part was measured."""
    waivers = written(tmp_path, f'[[toggle]]\nfile = "{FILE}"\n{what}\nreason = "because"\n')
    with pytest.raises(LatteError, match="names nothing that was not reached"):
        apply_waivers(waivers, counts()[0], whole=True)
    assert not apply_waivers(waivers, counts()[0], whole=False).toggles


@pytest.mark.parametrize(("text", "says"), [
    ('[[toggle]]\nfile = "a"\nsignal = "b"\n', "a reason"),
    ('[[toggle]]\nfile = "a"\nsignal = "b"\nreason = " "\n', "a reason"),
    ('[[branch]]\nfile = "a"\nreason = "c"\n', "a text"),
    ('[[branch]]\nfile = "a"\nsignal = "b"\nreason = "c"\n', "'signal'"),
    ('[[line]]\nfile = "a"\n', "'line'"),
    ("[[toggle", "not a readable file"),
])
def test_files_that_are_none_of_waivers(text, says, tmp_path):
    with pytest.raises(LatteError, match=says):
        written(tmp_path, text)


def test_the_committed_waivers_have_reasons():
    assert all(len(waiver.reason) > 20 for waiver in read_waivers())


def test_bars():
    assert total([Share(1, 2, 3), Share(4, 5)]) == Share(5, 7, 3) and Share(0, 0, 4).percent == 100
    assert unmet([("branch", Share(98, 100)), ("toggle", Share(9, 10)), ("functional", Share(3, 3))]) == []
    below = unmet([("branch", Share(979, 1000)), ("toggle", Share(899, 1000)), ("functional", Share(99, 100))])
    assert [line.partition(":")[0] for line in below] == ["branch", "toggle", "functional"]


