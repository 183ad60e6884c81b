"""The command line: `python3 qapigen generate|features|reference|dump ...`."""

import argparse
import os
import sys

if not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from qapigen import gen_commands, gen_events, gen_features, gen_introspect, gen_types
from qapigen.build import build_schema
from qapigen.output import write_file
from qapigen.source import QapiError, Source


def generate(path):
    schema = build_schema(path)
    files = {}
    for back_end in (gen_types, gen_commands, gen_events, gen_introspect):
        files.update(back_end.generate(schema))
    return files


MODES = {
    'generate': (generate, 'C from a schema'),
    'features': (gen_features.generate, 'C from the names of bits'),
}


def main():
    parser = argparse.ArgumentParser(prog='qapigen', description=__doc__)
    parser.add_argument('mode', choices=MODES,
                        help='; '.join(f'{name}: {what}' for name, (_, what) in MODES.items()))
    parser.add_argument('input')
    parser.add_argument('--output-dir', default='.')
    options = parser.parse_args()
    try:
        files = MODES[options.mode][0](options.input)
    except QapiError as err:
        print(err, file=sys.stderr)
        return 1
    except RecursionError:
        print(QapiError(Source(options.input), 'definitions are nested too deeply'),
              file=sys.stderr)
        return 1
    for name, text in files.items():
        write_file(os.path.join(options.output_dir, name), text)
    return 0


sys.exit(main())
