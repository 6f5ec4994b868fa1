"""Loads the templates of the HTML pages with jinja2. Everything that is filled in is escaped, and a missing name is an error.

Each package that writes a page keeps its templates, styles and scripts in a folder `templates` of its own.
"""

from importlib.resources import files
from typing import TYPE_CHECKING

from laconic.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment


def load_templates(package: str) -> "Environment":
    """The templates of a package, such as `laconic.reporting`. Raises `MissingExtraError` if jinja2 is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("the HTML page", "report") from error
    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template_text(package: str, name: str) -> str:
    """The text of a style or script of a package."""
    return (files(package) / "templates" / name).read_text("utf-8")
