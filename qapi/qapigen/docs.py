"""Documentation blocks: what a definition says about itself, in sections.

A block is the symbol (`@Name:`), text, one section a member (`@member: ...`), then
`Features:` with one section a feature, and tagged sections.  A description's further lines
are indented by four; blank lines separate paragraphs.
"""

import re

from .source import QapiError

TAGS = ('Returns', 'Errors', 'Since', 'Note', 'Notes', 'Example', 'Examples')
VERBATIM = ('Note', 'Notes', 'Example', 'Examples')   # their lines need no indentation
INDENT = '    '

SYMBOL = re.compile(r'@([^ :]*):\s*(.*)\Z')
TAGGED = re.compile(r'(Features|' + '|'.join(TAGS) + r'):\s*(.*)\Z')


class Section:
    """A described name or a tagged section; `lines` without their indentation."""

    def __init__(self, info, name, first=''):
        self.info = info
        self.name = name
        self.lines = [first] if first else []

    @property
    def text(self):
        return '\n'.join(self.lines).strip('\n')


class Doc:
    def __init__(self, info, symbol=None):
        self.info = info
        self.symbol = symbol
        self.body = Section(info, '')
        self.members = {}    # name -> Section
        self.features = {}   # name -> Section
        self.tagged = []     # Sections, in order

    def tag(self, name):
        for section in self.tagged:
            if section.name == name:
                return section
        return None

    def sections(self):
        return [*self.members.values(), *self.features.values(), *self.tagged]


class _Reader:
    def __init__(self, doc):
        self.doc = doc
        self.section = doc.body
        self.names = doc.members   # where `@name:` goes
        self.free = True           # the section takes unindented lines
        self.blank = True

    def open_name(self, place, name, first):
        if not name:
            raise QapiError(place, "expected a name between '@' and ':'")
        if name in self.names:
            raise QapiError(place, f"'@{name}:' is documented twice")
        self.section = self.names[name] = Section(place, name, first)
        self.free = False

    def open_tag(self, place, name, first):
        if name == 'Features':
            if first:
                raise QapiError(place, "text after 'Features:'")
            self.names, self.section, self.free = self.doc.features, None, False
            return
        if self.doc.tag(name):
            raise QapiError(place, f"'{name}:' appears twice")
        self.section = Section(place, name, first)
        self.doc.tagged.append(self.section)
        self.free = name in VERBATIM

    def text(self, place, line):
        if not self.section:
            if line:
                raise QapiError(place, "expected '@feature:' after 'Features:'")
            return
        if not self.free:
            if line.startswith(INDENT):
                line = line[len(INDENT):]
            elif line and self.blank:
                self.section, self.free = self.doc.body, True
                self.doc.body.lines.append('')
            elif line:
                raise QapiError(place, 'expected a line indented by four')
        self.section.lines.append(line)

    def line(self, place, line):
        symbol, tagged = SYMBOL.match(line), TAGGED.match(line)
        if symbol:
            self.open_name(place, symbol.group(1), symbol.group(2))
        elif tagged:
            self.open_tag(place, tagged.group(1), tagged.group(2))
        else:
            self.text(place, line)
        self.blank = not line


def parse_doc(info, lines):
    """One block; lines are (Source, text behind '# ')."""
    first = next((index for index, (_, text) in enumerate(lines) if text), None)
    if first is None:
        raise QapiError(info, 'documentation is empty')
    symbol = SYMBOL.match(lines[first][1])
    if not symbol:
        doc = Doc(info)
        doc.body.lines = [text for _, text in lines]
        return doc
    if not symbol.group(1):
        raise QapiError(lines[first][0], "expected a name between '@' and ':'")
    if symbol.group(2):
        raise QapiError(lines[first][0], f"text after '@{symbol.group(1)}:'")
    doc = Doc(info, symbol.group(1))
    reader = _Reader(doc)
    for place, text in lines[first + 1:]:
        reader.line(place, text)
    for section in doc.sections():
        if not section.text:
            raise QapiError(section.info, f"'{section.name}' has no description")
    return doc
