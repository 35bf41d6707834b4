"""The commands of `tesp`, put together. Everything heavy is imported by the command that needs it."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tesp_api.cli.db import app as db_app
from tesp_api.cli.demo import demo
from tesp_api.cli.doctor import doctor
from tesp_api.cli.engine import app as engine_app
from tesp_api.cli.exits import EXIT_CODES, CommandFailed
from tesp_api.cli.limits import limits
from tesp_api.cli.plain_text import harmless
from tesp_api.cli.run import app as run_app
from tesp_api.cli.serve import serve
from tesp_api.cli.task import app as task_app
from tesp_api.cli.token import app as token_app
from tesp_api.cli.top import top
from tesp_api.cli.user import app as user_app
from tesp_api.cli.webhook import app as webhook_app


class _ReportingGroup(TyperGroup):
    """Turns `CommandFailed` into one message on stderr and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandFailed as error:
            typer.echo(f"tesp: {harmless(str(error))}", err=True)
            raise typer.Exit(error.code) from None


app = typer.Typer(
    cls=_ReportingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A GA4GH TES v1.1 server that runs tasks on Pulsar.",
    epilog=EXIT_CODES,
)
app.command()(serve)
app.add_typer(task_app, name="task")
app.add_typer(run_app, name="run")
app.add_typer(user_app, name="user")
app.add_typer(token_app, name="token")
app.add_typer(engine_app, name="engine")
app.add_typer(db_app, name="db")
app.add_typer(webhook_app, name="webhook")
app.command()(top)
app.command()(limits)
app.command()(doctor)
app.command()(demo)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed_version

        typer.echo(f"tesp {installed_version('tesp-api')}")
        raise typer.Exit


if __name__ == "__main__":
    app()
