"""The command's root: its subcommands, and how errors become one sentence and an exit code."""

import logging
from collections.abc import Sequence

import click

from aifarm.cli import (
    clients,
    compare,
    completion,
    control,
    data,
    doctor,
    outputs,
    registry,
    serve,
    submit,
    tasks,
    tokens,
    top,
)

logger = logging.getLogger(__name__)

FAILED, BAD_REQUEST, NOT_AUTHORIZED, NOT_FOUND, UNREACHABLE = 1, 2, 3, 4, 5
INTERRUPTED = 130


class Ordered(click.Group):
    """Lists its commands as a day goes, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=Ordered, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what happens underneath.")
@click.version_option(package_name="aifarm", message="aifarm %(version)s")
def app(verbose: bool) -> None:
    """AI Farm: train PyTorch models on your lab's workstations.

    Which farm: --url and --token-file, else AIFARM_URL and AIFARM_TOKEN, else config.toml in the
    platform's config folder, else a farm that runs on this machine.

    \b
    Exit codes:
      0    done
      1    the task failed or was stopped, or the server failed
      2    wrong usage, or the farm does not accept the request
      3    the token is missing, not valid, or may not do that
      4    there is no such task, package, client or token
      5    no farm answers
      130  interrupted
    """
    logging.basicConfig(format="aifarm: %(message)s", force=True)
    if verbose:
        logging.getLogger("aifarm").setLevel(logging.DEBUG)


for command in (
    serve.dev,
    registry.publish,
    submit.submit,
    tasks.tasks,
    tasks.show,
    tasks.why,
    outputs.logs,
    outputs.events,
    outputs.metrics,
    outputs.outputs,
    outputs.checkpoint,
    control.pause,
    control.resume,
    control.stop,
    control.retry,
    compare.reproduce,
    compare.compare,
    control.delete,
    control.restore,
    control.edit,
    control.tag,
    control.untag,
    registry.packages,
    registry.unpublish,
    data.put,
    data.data,
    top.top,
    clients.clients,
    clients.client,
    clients.drain,
    clients.undrain,
    clients.forget,
    tokens.token,
    serve.server,
    doctor.doctor,
):
    app.add_command(command)
app.add_command(completion.command, "completion")


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; nothing escapes as a traceback."""
    try:
        return app.main(arguments, prog_name="aifarm", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except Exception as error:
        logger.debug("The command ended with", exc_info=True)
        click.echo(f"aifarm: {_sentence(error)}", err=True)
        return exit_code(error)


def exit_code(error: Exception) -> int:
    """The exit code that tells a script what kind of error this is."""
    from aifarm.sdk import errors

    kinds: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
        ((errors.Unauthorized, errors.Forbidden), NOT_AUTHORIZED),
        ((errors.NotFound,), NOT_FOUND),
        ((errors.FarmUnreachable,), UNREACHABLE),
        (
            (
                errors.InvalidRequest,
                errors.Conflict,
                errors.TooLarge,
                errors.MethodNotAllowed,
                errors.InsecureFarm,
            ),
            BAD_REQUEST,
        ),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), FAILED)


def _sentence(error: Exception) -> str:
    from aifarm.sdk.errors import AIFarmError

    if isinstance(error, AIFarmError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return f"internal error ({type(error).__name__}: {error}); `aifarm --verbose …` tells more."
