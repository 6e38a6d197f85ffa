"""Registers of the AXI4-Stream ports: jobs are queued by registers, and registers say how they ended."""

from amaranth.lib import data

from latte.golden.jobs import COUNT_BITS, REFUSALS
from latte.rtl.axi.register_types import Access, DataRegisters, Field, Register, bit_fields

__all__ = ["JOBS_MAX", "JOB_REGISTERS", "JOB_STATUS_BITS", "PACKET_FAULTS", "packet_fault_layout"]

JOBS_MAX = 8
"""Jobs that were queued and are not done; a power of two. So many have a register for their status."""
_RO = Access.READ_ONLY

PACKET_FAULTS = {
    "packet_short": "TLAST came before the job's last row was whole; zeros stand for what was missing.",
    "packet_long": "TLAST did not come with the last beat of the job's rows; what came up to it was dropped.",
    "bytes_missing": "TKEEP was low for a byte of a row; what TDATA had there was taken.",
}
"""What may be wrong with a packet of rows."""
JOB_STATUS_BITS = {
    "done": "The job is done; 0 from its JOB_ROWS until then.",
    "error": "Something below is set: output rows mean nothing.",
    "sequence_invalid": "It goes on with a sequence of which a part could not be loaded.",
    **{f"refused_{name}": f"The core refused the job: `{name}` of its status bits." for name in REFUSALS},
    **PACKET_FAULTS,
}
"""Bits of a job's status register from bit 0, with their meaning."""


def packet_fault_layout() -> data.StructLayout:
    """What was wrong with a packet."""
    return data.StructLayout(dict.fromkeys(PACKET_FAULTS, 1))


JOB_REGISTERS = DataRegisters(
    data_port=1,
    enable="Carry out jobs; those begun are finished when it is cleared.",
    reset="End the output packet that is under way, with TUSER, then reset core, jobs and register file: JOBS_QUEUED "
          "and JOBS_DONE are 0.",
    states={
        "busy": "A job is being carried out.",
        "queue_empty": "JOBS_DONE has come up with JOBS_QUEUED.",
        "resetting": "A soft reset waits for the output packet's end.",
    },
    interrupts={
        "job_done": "A job with the interrupt flag is done.",
        "queue_empty": "All jobs that were queued are done.",
    },
    errors={
        **PACKET_FAULTS,
        "sequence_invalid": "A job went on with a sequence that could not be loaded.",
        "job_refused": "The core refused a job.",
        "job_lost": f"JOB_ROWS was written while {JOBS_MAX} jobs were not done, or in a soft reset; the job is lost.",
    },
    counters={
        "input_beats": "Beats of rows taken.", "output_beats": "Beats of rows given.",
        "input_stalls": "Cycles in which a stream's rows were waited for and no beat came.", "jobs": "Jobs done.",
    },
    registers=(
        Register("JOB", 0x58, (
            Field("fresh", 0, 1, Access.READ_WRITE, "Begin a new sequence; else the rows are appended to the present "
                  "one."),
            Field("causal", 1, 1, Access.READ_WRITE, "The queries are the last positions, each sees the keys up to its "
                  "own."),
            Field("interrupt", 2, 1, Access.READ_WRITE, "Set INTERRUPT_STATUS.job_done when it is done."),
            Field("head", 16, COUNT_BITS, Access.READ_WRITE, "Entry of the register file.")),
            "What a job is that JOB_ROWS queues."),
        Register("JOB_ROWS", 0x5C, (
            Field("query_rows", 0, COUNT_BITS, Access.WRITE_ONLY, "Queries to compute."),
            Field("load_rows", COUNT_BITS, COUNT_BITS, Access.WRITE_ONLY, "Keys and values to load before.")),
            "The doorbell: each write queues a job. A write never waits: one that finds no place is answered with "
            "SLVERR.", external=True, whole=True),
        Register("JOBS_QUEUED", 0x60, (Field("number", 0, COUNT_BITS, _RO, "Jobs that were queued, modulo 2**16."),),
                 "How far software is."),
        Register("JOBS_DONE", 0x64, (Field("number", 0, COUNT_BITS, _RO, "Jobs that are done, modulo 2**16."),),
                 "How far the hardware is."),
        *(Register(f"JOB_STATUS_{slot}", 0xC0 + 4 * slot, bit_fields(JOB_STATUS_BITS.items(), _RO),
                   f"Of the last job whose number is {slot} modulo {JOBS_MAX}, from 0 on.")
          for slot in range(JOBS_MAX)),
    ),
)
