"""`lumina-stream token`: make a token, and add it to the file from which a relay takes them."""

import argparse
import shlex
import sys

from lumina_stream import tokens
from lumina_stream.model.errors import ConfigurationError
from lumina_stream.viewing.tailing import say


def run_token(options: argparse.Namespace) -> int:
    """Print a new token on stdout, the one time that it is shown; return the exit code."""
    kind: tokens.Kind = options.kind
    secret = tokens.Secret(kind, tokens.make(kind), " ".join((options.label or "").split()))
    if options.file is None:
        variable = "LUMINA_TOKEN" if kind == "both" else f"LUMINA_{kind.upper()}_TOKEN"
        hint = f"give it to the relay and to who uses it as {variable}; it is not shown again"
    else:
        try:
            tokens.add_to_file(options.file, secret)
        except tokens.TokenFileError as error:
            raise ConfigurationError(str(error)) from None
        where = shlex.quote(str(options.file))
        hint = (
            f"added to {options.file}; a relay that runs with it takes it within a second, others with: "
            f"lumina-stream serve --token-file {where}"
        )
    sys.stdout.write(f"{secret.value}\n")
    sys.stdout.flush()
    say(hint)
    return 0
