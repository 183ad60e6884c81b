"""The command line: `python3 qapigen generate|features|reference|dump INPUT`."""

import argparse
import os
import sys

if not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from qapigen import (gen_commands, gen_dump, gen_events, gen_features, gen_introspect,
                     gen_reference, gen_types)
from qapigen.build import build_schema
from qapigen.output import write_file
from qapigen.source import QapiError


def generate(path):
    schema = build_schema(path)
    files = {}
    for back_end in (gen_types, gen_commands, gen_events, gen_introspect):
        files.update(back_end.generate(schema))
    return files


def reference(path):
    return gen_reference.generate(build_schema(path))


def dump(path):
    print(gen_dump.generate(build_schema(path)), end='')
    return {}


MODES = {
    'generate': (generate, 'C from a schema'),
    'features': (gen_features.generate, 'C from the names of bits'),
    'reference': (reference, 'the documentation as Markdown and as a man page'),
    'dump': (dump, 'what was understood of a schema, on standard output'),
}


def main(argv):
    parser = argparse.ArgumentParser(prog='qapigen')
    parser.add_argument('mode', choices=MODES,
                        help='; '.join(f'{name}: {what}' for name, (_, what) in MODES.items()))
    parser.add_argument('input')
    parser.add_argument('--output-dir', default='.')
    options = parser.parse_args(argv)
    try:
        files = MODES[options.mode][0](options.input)
    except QapiError as err:
        print(err, file=sys.stderr)
        return 1
    for name, text in files.items():
        write_file(os.path.join(options.output_dir, name), text)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
