"""The driver against the RTL, UART pins included: the same code that talks to a board."""

import collections
import contextlib
import dataclasses
import json

import numpy as np
import pytest

from latte.fpga.host.commands import run_command
from latte.fpga.host.driver import Board, JobRefused
from latte.fpga.host.faulty_port import FAULTS, FaultyPort
from latte.fpga.host.simulated_port import SIMULATED_BAUD, build_board, simulated_port
from latte.fpga.host.transport import line_limit
from latte.fpga.host.verify import verify_heads
from latte.golden.attention import HeadParameters, attend
from latte.golden.config import THRESHOLD_KINDS, preset
from latte.golden.errors import LatteError
from latte.golden.jobs import Job
from latte.golden.key_groups import KeyGroups
from latte.golden.model_thresholds import Thresholds
from latte.golden.pruned_mass import Gains
from latte.golden.register_image import RegisteredVectors, RegisterImage, save_register_image
from latte.golden.thresholds import ThresholdKind
from latte.golden.vectors import embedded_vectors, save_vectors
from latte.sim.program import Program

CONFIG = preset("tiny", heads=4, max_seq_len=64, threshold_kinds=THRESHOLD_KINDS, key_groups=4)
OPTIONS = ["--config", CONFIG.name, "--heads", "4", "--max-seq-len", "64", "--threshold-kinds",
           "relative,mass,absolute", "--key-groups", "4"]
GROUPS = KeyGroups((5, 40), (10, -20))
PARAMETERS = {
    0: HeadParameters.encode(2.0, 0.05, 0.05, CONFIG, gains=Gains(64, 50), groups=GROUPS),
    1: HeadParameters.encode(3.0, 0.02, 0.05, CONFIG, kind=ThresholdKind.MASS, tau_per_octave=-0.2, groups=GROUPS)}
MARGIN = 0.003
"""Seconds of board time; the core answers much sooner."""


@pytest.fixture(scope="module")
def model(build_folder):
    return build_board(CONFIG, build_folder=build_folder)


@pytest.fixture
def open_port(model, tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda name="run": stack.enter_context(simulated_port(model, tmp_path / name))


def random_job(rng, queries, keys, **others):
    q, k, v = (rng.integers(-119, 120, (rows, CONFIG.head_dim)).astype(np.int8) for rows in (queries, keys, keys))
    return Job(others.pop("head", 0), q, k, v, **others)


def check(board, jobs):
    """Run jobs on a board; each must give the golden output, or the golden refusal."""
    program = Program(CONFIG, PARAMETERS, jobs)
    expected = dict(program.expected())
    for index, (job, refusal) in enumerate(zip(jobs, program.refusals(), strict=True)):
        if refusal is None:
            output = board.run(job)
            assert len(output) == len(job.q)
            if index in expected:
                np.testing.assert_array_equal(output, expected[index].output)
        else:
            with pytest.raises(JobRefused, match=refusal):
                board.run(job)


def test_heads_appends_and_shared_keys(open_port):
    rng = np.random.default_rng(1)
    board = Board(open_port(), CONFIG, SIMULATED_BAUD, margin=MARGIN)
    board.load_parameters(PARAMETERS)
    jobs = [
        random_job(rng, 5, 20), random_job(rng, 24, 24, head=1, causal=True),
        # Grouped queries: the same keys, another head.
        random_job(rng, 5, 0, head=0, fresh=False, causal=True),
        # Decode: load a prompt without queries, then one key and one query at a time.
        random_job(rng, 0, 3), *(random_job(rng, 1, 1, fresh=False, causal=True) for _ in range(3)),
    ]
    check(board, jobs)
    traces = [trace for _, trace in Program(CONFIG, PARAMETERS, jobs).expected()]
    report = board.report()
    assert report.counters["survivors"] == sum(trace.keep.sum() for trace in traces)
    assert report.counters["pairs_estimated"] == sum(trace.visible.sum() for trace in traces)
    assert report.counters["pruned_mass"] == sum(trace.mass.sum() for trace in traces) > 0
    assert report.status == frozenset() and report.discarded == 0
    assert board.statistics.retries == board.statistics.bad_frames == board.statistics.stale_frames == 0
    board.clear()
    assert board.report().counters["survivors"] == 0


def test_bad_jobs_are_reported(open_port):
    rng = np.random.default_rng(2)
    board = Board(open_port(), CONFIG, SIMULATED_BAUD, margin=MARGIN)
    board.load_parameters(PARAMETERS)
    check(board, [
        random_job(rng, 3, 4, head=2), random_job(rng, 3, 4, head=3), random_job(rng, 3, 65), random_job(rng, 2, 0),
        random_job(rng, 5, 4, causal=True), random_job(rng, 4, 4, causal=True)])
    saturated = Job(0, *np.full((3, 1, CONFIG.head_dim), 127, np.int8))
    check(board, [saturated])
    assert board.report().status == {"qk_saturated"}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_faults_never_give_a_wrong_answer(open_port, seed):
    rng = np.random.default_rng(seed)
    port = FaultyPort(open_port(), 0.0015, seed)
    board = Board(port, CONFIG, SIMULATED_BAUD, margin=MARGIN, retries=30)
    board.load_parameters(PARAMETERS)
    check(board, [random_job(rng, 8, 8, head=1, causal=True), random_job(rng, 3, 4, head=3),
                  random_job(rng, 2, 2, fresh=True)])
    kinds = collections.Counter()
    for (direction, kind), count in port.injected.items():
        kinds[direction] += count
        kinds[kind] += count
    assert all(kinds[name] for name in (*FAULTS, "sent", "received")), kinds
    port.rate = 0
    report = board.report()
    assert board.statistics.retries > 0
    # Damage on the way there is what the board discarded; on the way back, what the driver discarded.
    assert report.discarded > 0 and board.statistics.bad_frames > 0


def test_an_unusable_line_is_reported(open_port):
    port = FaultyPort(open_port(), 0.3, 1)
    with pytest.raises(LatteError, match="in 4 attempts; check the cable"):
        Board(port, CONFIG, SIMULATED_BAUD, margin=MARGIN, retries=3)


def test_wrong_configuration_and_second_session(open_port):
    port = open_port()
    with pytest.raises(LatteError, match="max_seq_len = 64, not 32"):
        Board(port, CONFIG.replace(max_seq_len=32), SIMULATED_BAUD, margin=MARGIN)
    # A session that was left in the middle of a job does not harm the next one.
    rng = np.random.default_rng(5)
    board = Board(port, CONFIG, SIMULATED_BAUD, margin=MARGIN)
    board.load_parameters(PARAMETERS)
    left = random_job(rng, 6, 6)
    port.write(b"\x7e\x12\x01")
    board = Board(port, CONFIG, SIMULATED_BAUD, margin=MARGIN)
    with pytest.raises(JobRefused, match="head_invalid"):
        board.run(left)
    board.load_parameters(PARAMETERS)
    check(board, [left])


def test_silent_board(open_port):
    class Cut:
        """A port whose wires are cut."""

        timeout = None

        def __init__(self, port):
            self.port = port

        def write(self, data):
            return len(data)

        def read(self, size):
            self.port.timeout = self.timeout
            return self.port.read(size)

    with pytest.raises(LatteError, match="no answer to HELLO in 3 attempts"):
        Board(Cut(open_port()), CONFIG, SIMULATED_BAUD, margin=MARGIN, retries=2)


def test_real_head_at_the_speed_of_the_line(open_port):
    """A head of a real model, as long as the build holds; the line has four cycles a bit, the fewest of any board."""
    vectors = next(iter(embedded_vectors()))
    job = Job(3, *(getattr(vectors, name)[0, :CONFIG.max_seq_len] for name in "qkv"), causal=True)
    program = Program(CONFIG, {3: vectors.parameters(0, CONFIG)}, [job])
    port = open_port()
    board = Board(port, CONFIG, SIMULATED_BAUD, margin=MARGIN)
    board.load_parameters(program.parameters)
    started = port.seconds
    output = board.run(job)
    assert 1 / (port.seconds - started) > 0.88 * line_limit(CONFIG, len(job.q), SIMULATED_BAUD)
    [(_, trace)] = program.expected()
    np.testing.assert_array_equal(output, trace.output)


def test_run_command_verifies_the_simulated_board(model, output, capsys):
    """``latte run --port sim``: the table, the result file and the exit code of a board that is right."""
    vectors = next(iter(embedded_vectors())).select([0, 4])
    rows = {name: getattr(vectors, name)[:, :12] for name in "qkv"}
    vectors = dataclasses.replace(vectors, model="[red]made[/up]", **rows)
    save_vectors(output / "short.npz", vectors)
    arguments = ["--port", "sim", *OPTIONS,
                 "--vectors", str(output / "short.npz"), "--build", str(output)]
    with pytest.raises(SystemExit) as stop:
        run_command.main(arguments, standalone_mode=False)
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "2 of 2 heads agree in every output bit" in printed and "0 sent again" in printed
    assert "[red]made[/up]" in printed
    record = json.loads((output / "run.json").read_text())
    assert record["pass"] and [entry["name"] for entry in record["results"]] == vectors.names()
    assert record["link"]["requests"] > 0 and record["link"]["discarded"] == 0


def thresholds_of(tau, scales):
    """Return relative thresholds with static scales of Q, K and V."""
    return Thresholds(tau, **dict(zip(("q_scale", "k_scale", "v_scale"), scales, strict=True)))



@pytest.mark.slow
def test_run_command_loads_a_register_image(model, output, capsys):
    """``latte run --registers``: the board holds the whole image, and each head uses its own entry."""
    vectors = next(iter(embedded_vectors())).select([4, 1])
    vectors = dataclasses.replace(vectors, **{name: getattr(vectors, name)[:, :12] for name in "qkv"},
                                  block=np.array([1, 0], np.int32), head=np.array([1, 0], np.int32))
    save_vectors(output / "short.npz", vectors)
    scales = [np.full((2, 2), 1.1 * getattr(vectors, f"{name}_scale").max()) for name in "qkv"]
    learned = dataclasses.replace(
        thresholds_of(np.array([[0.5, 1], [1.5, 2]]), scales), kind=ThresholdKind.MASS,
        denominator_gain=np.full((2, 2), 1.2), mean_gain=np.full((2, 2), 0.9),
        group_elements=np.tile([3, 60], (2, 2, 1)), group_cuts=np.zeros((2, 2, 2)))
    image = RegisterImage.encode(vectors.model, CONFIG, learned)
    save_register_image(output / "image.json", image)
    arguments = ["--port", "sim", *OPTIONS, "--registers",
                 str(output / "image.json"), "--vectors", str(output / "short.npz"), "--build", str(output)]
    with pytest.raises(SystemExit) as stop:
        run_command.main(arguments, standalone_mode=False)
    printed = capsys.readouterr().out
    assert stop.value.code == 0 and "2 of 2 heads agree in every output bit" in printed
    assert f"{image.checksum:#010x}" in printed
    record = json.loads((output / "run.json").read_text())
    kept = [int(attend(v.q[h], v.k[h], v.v[h], image.heads[entry].parameters, CONFIG, causal=v.causal).keep.sum())
            for v in [RegisteredVectors.of(vectors, image)] for h, entry in enumerate((3, 0))]
    assert [entry["kept"] for entry in record["results"]] == kept and record["registers"] == image.checksum


def test_entries_the_board_lacks_are_refused_by_both_sides(open_port):
    """The driver says it in a sentence; a host that writes it all the same gets a status bit, and no such head."""
    board = Board(open_port(), CONFIG, SIMULATED_BAUD, margin=MARGIN)
    eight = dataclasses.replace(PARAMETERS[0], groups=KeyGroups((1, 2, 3), (0, 0, 0)))
    with pytest.raises(LatteError, match="at most 4 groups of keys, not 8"):
        board.load_parameters({0: eight})
    board.load_parameters(PARAMETERS)
    rng = np.random.default_rng(6)
    check(board, [random_job(rng, 2, 3)])

    class Careless(HeadParameters):
        """An entry whose mean gain is the larger one."""

        def registers(self, config):
            """Return impossible fields."""
            return super().registers(config) | {"mean_gain": 65}

    fields = {field.name: getattr(PARAMETERS[0], field.name) for field in dataclasses.fields(HeadParameters)}
    board.load_parameters({0: Careless(**fields)})
    with pytest.raises(JobRefused, match="head_invalid"):
        board.run(random_job(rng, 2, 3))
    board.load_parameters({0: Careless(**fields)})
    assert "entry_invalid" in board.report().status
    other = dataclasses.replace(PARAMETERS[0], groups=KeyGroups((5, 41), GROUPS.cuts))
    board.load_parameters({0: PARAMETERS[0], 1: other})
    board.run(random_job(rng, 2, 3))
    with pytest.raises(JobRefused, match="groups_differ"):
        board.run(random_job(rng, 2, 0, head=1, fresh=False))


def test_board_refuses_an_image_of_another_build(open_port):
    """The driver checks numeric fields and the number of heads before it writes."""
    board = Board(open_port(), CONFIG, SIMULATED_BAUD, margin=MARGIN)
    ones = np.ones((3, 2))
    with pytest.raises(LatteError, match="--heads 6"):
        board.load_image(RegisterImage.encode("m", CONFIG, thresholds_of(ones, (ones,) * 3)))
    other = CONFIG.replace(split="slice")
    with pytest.raises(LatteError, match="split"):
        board.load_image(RegisterImage.encode("m", other, thresholds_of(ones[:2], (ones[:2],) * 3)))


def test_verification_names_a_wrong_board(open_port):
    """A board that is told other thresholds than the golden model does not pass."""
    vectors = next(iter(embedded_vectors())).select([0])
    vectors = dataclasses.replace(vectors, **{name: getattr(vectors, name)[:, :8] for name in "qkv"})

    class Wrong(Board):
        """Sets every threshold to 1 on its way to the board."""

        def load_parameters(self, parameters):
            """Load falsified parameters."""
            super().load_parameters({head: entry.with_tau(1) for head, entry in parameters.items()})

    [head] = verify_heads(Wrong(open_port(), CONFIG, SIMULATED_BAUD, margin=MARGIN), vectors)
    assert not head.passed
    assert head.problems[0].startswith("output at row ")
    assert any(problem.startswith("survivors: expected") for problem in head.problems)
