"""The templates of the HTML pages, as jinja2 loads them: everything filled in is escaped, and a missing name is an error."""

from typing import TYPE_CHECKING

from laconic.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment


def load_templates() -> "Environment":
    """The package's templates. Raises `MissingExtraError` where jinja2 is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("the HTML page", "report") from error
    return Environment(
        loader=PackageLoader("laconic", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
