"""`python -m laconic.serving.local_server MODEL --port 8001` serves a model on this machine until it is ended."""

from typing import Annotated

import typer

from laconic.config.defaults import SERVE_HOST, SERVED_POSITIONS, SERVED_ROWS
from laconic.errors import told_in_one_line


def serve_locally(
    model: Annotated[str, typer.Argument(help='A folder, a hub name, a GGUF file, "tiny" or "seeker".')],
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = SERVE_HOST,
    name: Annotated[str | None, typer.Option(help="The name to serve the model by; MODEL if not given.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Responses drawn at once.")] = SERVED_ROWS,
    context: Annotated[
        int | None,
        typer.Option(min=2, help=f"Tokens of prompt and response together; at most {SERVED_POSITIONS} if not given."),
    ] = None,
) -> None:
    """Serve MODEL over HTTP, drawn by the local sampler's parts."""
    with told_in_one_line("laconic"):
        _serve(model, host, port, name or model, rows, context)


def _serve(model: str, host: str, port: int, name: str, rows: int, context: int | None) -> None:
    import uvicorn

    from laconic.config.policy import PolicyConfig
    from laconic.models.loading import load_model
    from laconic.serving.local_server.app import LocalServer
    from laconic.serving.local_server.worker import leave_a_core

    lm = load_model(model, PolicyConfig())
    leave_a_core(lm)
    known = lm.context_length or SERVED_POSITIONS
    server = LocalServer(lm, name, rows, min(context or SERVED_POSITIONS, known))
    server.drawing.start()
    try:
        uvicorn.run(server.app(), host=host, port=port, log_level="warning", access_log=False)
    finally:
        server.drawing.close()


if __name__ == "__main__":
    typer.run(serve_locally)
