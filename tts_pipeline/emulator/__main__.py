"""Start the local speech service alone: ``python -m tts_pipeline.emulator``."""

from __future__ import annotations

import argparse
import sys

from tts_pipeline.emulator.options import add_arguments, options_from
from tts_pipeline.emulator.serve import serve
from tts_pipeline.errors import ConfigurationError


def main() -> int:
    """Serve until a signal; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tts_pipeline.emulator", description="A local speech service.")
    add_arguments(parser)
    try:
        serve(options_from(parser.parse_args()))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
