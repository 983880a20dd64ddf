"""The command line: one command is one public call, and its flags are that call's arguments.

`options` declares what commands share, a file for each group of commands calls, `end` prints what
was skipped and gives the exit code. Rooms are imported inside the commands, so that `--help` is
quick.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Sequence

from cyclopts import App

import kinema
from kinema.cli import datasets, evaluation, features, finding, inside, rivals, training, weights
from kinema.cli.end import Done, exit_code, say
from kinema.cli.options import renamed
from kinema.cli.wording import spoken

app = App(
    name="kinema",
    help="Learn, extract and use spatiotemporal video features with 3-D convolutional networks.",
    version=kinema.__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # exit_code() says what to do next
)
commands: tuple[Callable[..., Done | None], ...] = (
    features.extract,
    features.status,
    features.predict,
    finding.search,
    finding.classify,
    datasets.prepare,
    training.train,
    training.ablation,
    training.export,
    evaluation.transfer,
    evaluation.compare,
    evaluation.embed,
    evaluation.compactness,
    finding.duplicates,
    rivals.trajectories,
    rivals.flow,
    rivals.runtime,
    inside.convolve,
    inside.kernels,
    inside.excite,
    inside.demo,
)
# What need not be named (videos may be by --list alone) cyclopts would call ARGS.
_usages = {
    features.extract: "Usage: kinema extract --out STR [OPTIONS] [PATHS...]",
    features.predict: "Usage: kinema predict [OPTIONS] [VIDEOS...]",
    inside.convolve: "Usage: kinema convolve [OPTIONS] [EXAMPLE]",
}
for command in commands:
    app.command(command, usage=_usages.get(command))

weights_app = App(name="weights", help="List, inspect, convert and fetch network weights.")
weights_app.command(weights.known, name="list")
weights_app.command(weights.info)
weights_app.command(weights.convert)
weights_app.command(weights.pull)
weights_app.command(weights.mean)
app.command(weights_app)

dataset_app = App(name="dataset", help="Look at labelled videos.")
dataset_app.command(datasets.info)
app.command(dataset_app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; errors are one line on standard error.

    With KINEMA_DEBUG set, an unexpected error comes with its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows few characters
            stream.reconfigure(errors="replace")
    # A picture shows boxes for what its font lacks; a warning for each of them helps nobody.
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
    given = renamed(sys.argv[1:] if arguments is None else arguments, say)
    return exit_code(
        lambda: app(given, exit_on_error=False, print_error=False),
        words=lambda error: spoken(error, app, given),
    )


if __name__ == "__main__":
    sys.exit(main())
