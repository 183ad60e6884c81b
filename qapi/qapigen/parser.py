"""Text to expressions: tokens, include, pragma, and which doc belongs to what.

The language is the one QEMU's schemas are written in: JSON with single quotes, without
numbers and null, with comments.  Knows the shape of values and nothing of their meaning.
"""

import os
import re

from .docs import Doc, parse_doc
from .pragma import Pragma
from .source import QapiError, Source, printable

MAX_DEPTH = 16        # of brackets: a schema needs five
MAX_INCLUDES = 64     # of files in one another

TOKEN = re.compile(r'''
    (?P<space>[ \n]+)
  | (?P<doc>^\#\#[^\n]*)
  | (?P<comment>\#[^\n]*)
  | (?P<punct>[{}\[\]:,])
  | '(?P<string>[^'\n]*)'
  | (?P<word>[A-Za-z0-9_+.-]+)
''', re.VERBOSE | re.MULTILINE)


class Expr:
    """One top-level expression with its documentation."""

    def __init__(self, info, value, doc, pragma):
        self.info = info      # Source
        self.value = value    # dict
        self.doc = doc        # Doc, or None
        self.pragma = pragma  # the whole schema's, complete only after parsing


class Parser:
    """One schema file, and through its includes every other one, in order."""

    def __init__(self, path, parent=None, shared=None):
        self.source = Source(path, 1, parent)
        self.shared = shared or Shared()
        self.text = self._read(parent)
        self.pos = 0
        self.token = None     # (kind, value, line)
        self.doc = None       # a symbol's doc waiting for its expression
        self.line = 1

    def _read(self, parent):
        where = parent or self.source
        path = self.source.path
        try:
            with open(path, 'rb') as file:
                data = file.read()
            self.shared.seen.add(os.path.realpath(path))
        except (OSError, ValueError) as err:
            reason = getattr(err, 'strerror', None) or str(err)
            raise QapiError(where, f"cannot read '{path}': {reason}") from None
        try:
            text = data.decode('utf-8')
        except UnicodeDecodeError as err:
            line = data.count(b'\n', 0, err.start) + 1
            raise QapiError(self.source.at(line), 'invalid UTF-8') from None
        return text if text.endswith('\n') else text + '\n'

    def here(self):
        return self.source.at(self.token[2])

    def fail(self, message):
        raise QapiError(self.here(), message)

    # ---- tokens

    def next(self):
        """Reads the next token that is no white space and no plain comment."""
        while self.pos < len(self.text):
            match = TOKEN.match(self.text, self.pos)
            line = self.line
            if not match:
                char = self.text[self.pos]
                raise QapiError(self.source.at(line), 'unterminated string' if char == "'"
                                else f"stray '{printable(char)}'")
            self.pos = match.end()
            self.line += match.group().count('\n')
            kind = match.lastgroup
            if kind == 'string':
                self._check_string(match.group('string'), line)
            if kind not in ('space', 'comment'):
                self.token = (kind, match.group(kind), line)
                return
        self.token = ('end', '', self.line)

    def _check_string(self, text, line):
        for char in text:
            if not ' ' <= char <= '~' or char == '\\':
                raise QapiError(self.source.at(line),
                                f"character '{printable(char)}' is not allowed in a string")

    def is_punct(self, char):
        return self.token[0] == 'punct' and self.token[1] == char

    def found(self):
        kind, value, _ = self.token
        return 'end of file' if kind == 'end' else f"'{value}'"

    # ---- values

    def value(self, depth=0):
        if depth > MAX_DEPTH:
            self.fail('brackets are nested too deeply')
        kind, value, _ = self.token
        if self.is_punct('{'):
            return self.object(depth)
        if self.is_punct('['):
            return self.array(depth)
        if kind == 'string':
            self.next()
            return value
        if kind == 'word' and value in ('true', 'false'):
            self.next()
            return value == 'true'
        self.fail(f"expected a string, 'true', 'false', '{{' or '[', found {self.found()}")

    def object(self, depth):
        result = {}
        self.next()
        if self.is_punct('}'):
            self.next()
            return result
        while True:
            kind, key, _ = self.token
            if kind != 'string':
                self.fail(f'expected a key in quotes, found {self.found()}')
            if key in result:
                self.fail(f"duplicate key '{key}'")
            self.next()
            if not self.is_punct(':'):
                self.fail(f"expected ':', found {self.found()}")
            self.next()
            result[key] = self.value(depth + 1)
            if self.separator('}'):
                return result

    def array(self, depth):
        result = []
        self.next()
        if self.is_punct(']'):
            self.next()
            return result
        while True:
            result.append(self.value(depth + 1))
            if self.separator(']'):
                return result

    def separator(self, end):
        if self.is_punct(end):
            self.next()
            return True
        if not self.is_punct(','):
            self.fail(f"expected ',' or '{end}', found {self.found()}")
        self.next()
        return False

    # ---- documentation

    def read_doc(self):
        """A block from '##' to '##'; the position is behind the opening line."""
        start = self.here()
        if self.token[1].rstrip() != '##':
            self.fail("junk after '##'")
        lines = []
        while True:
            end = self.text.find('\n', self.pos)
            line = self.text[self.pos:end] if end >= 0 else None
            if line is None or not line.startswith('#'):
                raise QapiError(start, "documentation is not closed by '##'")
            place = self.source.at(self.line)
            self.pos, self.line = end + 1, self.line + 1
            if line.startswith('##'):
                if line.rstrip() != '##':
                    raise QapiError(place, "junk after '##'")
                return parse_doc(start, lines)
            if len(line) > 1 and line[1] != ' ':
                raise QapiError(place, "expected a space after '#'")
            lines.append((place, line[2:].rstrip()))

    def take_doc(self):
        self.pos, self.line = self.pos + 1, self.line + 1   # behind the opening '##'
        doc = self.read_doc()
        if self.doc:
            self.drop_doc()
        if doc.symbol:
            self.doc = doc
        else:
            self.shared.exprs.append(Expr(doc.info, None, doc, self.shared.pragma))
        self.next()

    def drop_doc(self):
        raise QapiError(self.doc.info,
                        f"documentation for '{self.doc.symbol}' is not followed by its definition")

    # ---- top level

    def parse(self):
        self.next()
        while self.token[0] != 'end':
            if self.token[0] == 'doc':
                self.take_doc()
                continue
            if not self.is_punct('{'):
                self.fail(f"expected '{{', found {self.found()}")
            info = self.here()
            self.directive_or_expr(info, self.object(0))
        if self.doc:
            self.drop_doc()
        return self.shared

    def directive_or_expr(self, info, value):
        for key, handle in (('include', self.include), ('pragma', self.pragma)):
            if key in value:
                if self.doc:
                    self.drop_doc()
                if len(value) != 1:
                    raise QapiError(info, f"'{key}' stands alone")
                handle(info, value[key])
                return
        self.shared.exprs.append(Expr(info, value, self.doc, self.shared.pragma))
        self.doc = None

    def pragma(self, info, value):
        self.shared.pragma.add(info, value)

    def include(self, info, name):
        if not isinstance(name, str) or not name:
            raise QapiError(info, "value of 'include' is a file name")
        path = os.path.join(os.path.dirname(self.source.path), name)
        real = os.path.realpath(path)
        depth, place = 0, info
        while place:
            if os.path.realpath(place.path) == real:
                raise QapiError(info, f"'{name}' includes itself")
            depth, place = depth + 1, place.parent
        if depth > MAX_INCLUDES:
            raise QapiError(info, 'includes are nested too deeply')
        if real not in self.shared.seen:
            Parser(path, info, self.shared).parse()


class Shared:
    """What all files of one schema fill."""

    def __init__(self):
        self.exprs = []
        self.pragma = Pragma()
        self.seen = set()


def parse_schema(path):
    """Every expression of the schema, in order; (exprs, pragma)."""
    shared = Parser(path).parse()
    return shared.exprs, shared.pragma
