"""The ``latte`` command: a group whose commands are imported when they are used."""

import importlib
import sys

import click

from latte.golden import distribution
from latte.golden.errors import LatteError

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "sim": ("latte.sim.commands", "simulate_command", "Simulate heads in RTL and compare every bit with the model."),
    "fuzz": ("latte.sim.fuzz.commands", "fuzz_command",
             "Run random programs on random builds against the golden model."),
    "coverage": ("latte.sim.coverage.commands", "coverage_command",
                 "Measure branches, toggles and points of a plan that programs reach."),
    "formal": ("latte.sim.formal.commands", "formal_command", "Prove properties of hardware blocks for all inputs."),
    "mutation": ("latte.sim.mutation.commands", "mutation_command",
                 "Put faults into blocks and see whether their tests find them."),
    "emit": ("latte.fpga.package.commands", "emit_command", "Write a core as SystemVerilog, RTLIL or a package."),
    "area": ("latte.fpga.synthesis.commands", "area_command", "Count the cells of each hardware block."),
    "timing": ("latte.fpga.placement.commands", "timing_command", "Place and route: Fmax and the critical path."),
    "bitstream": ("latte.fpga.placement.commands", "bitstream_command", "Build a board's bitstream."),
    "bench": ("latte.fpga.benchmark.commands", "bench_command", "Measure LATTE and its dense baseline side by side."),
    "interface": ("latte.fpga.benchmark.interface_command", "interface_command",
                  "Measure what the AXI interface costs in cycles and area."),
    "size": ("latte.fpga.sizing.commands", "size_command", "Propose lanes for a device and a keep ratio."),
    "sweep": ("latte.fpga.sizing.commands", "sweep_command", "Explore builds: throughput against area."),
    "measure-blocks": ("latte.fpga.sizing.commands", "measure_blocks_command", "Synthesise blocks for size and sweep."),
    "run": ("latte.fpga.host.commands", "run_command", "Run heads on a board and compare every bit with the model."),
    "infer": ("latte.fpga.inference.commands", "infer_command",
              "Run a whole model, its attention on the hardware, and compare every bit with torch."),
    "report": ("latte.fpga.report.commands", "report_command", "Gather all results into one HTML page."),
    "documents": ("latte.fpga.documents", "documents_command", "Write the documents' tables of code and baselines."),
    "vectors": ("latte.golden.models.commands", "vectors", "Make a vector file of a model's real activations."),
    "memory": ("latte.golden.memory.commands", "memory_command",
               "Count what a decoded token moves with keys and values in memory."),
    "decode": ("latte.sim.decode_command", "decode_command",
               "Decode tokens on the simulated core with keys and values in memory."),
    "calibrate": ("latte.golden.train.calibrate_command", "calibrate",
                  "Choose scales and thresholds from calibration data."),
    "train": ("latte.golden.train.train_command", "train", "Train thresholds per head by distillation."),
    "eval": ("latte.golden.train.evaluate_command", "evaluate_command", "Measure a whole model: accuracy and pruning."),
    "export": ("latte.golden.train.export_command", "export", "Write a model's thresholds as a register image."),
    "figures": ("latte.golden.train.figures_command", "figures", "Draw evaluations and attention maps."),
}
"""Name: (module, click command in it, help line)."""


class _LazyGroup(click.Group):
    """Commands from the table `COMMANDS`: ``latte --help`` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the table's help lines."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name=distribution.NAME)
def cli() -> None:
    """Generate, simulate and measure LATTE sparse-attention accelerators."""


def main() -> None:
    """Run the command line; what a user did wrong ends in one sentence and exit code 2."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except LatteError as error:
        _fail(str(error))
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(message: str) -> None:
    click.echo(f"latte: {' '.join(message.split())}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
