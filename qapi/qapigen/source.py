"""Where something stands in a schema, and the one error that a schema can cause."""


class Source:
    """A line of a file, and the include directives that led there."""

    def __init__(self, path, line=1, parent=None):
        self.path = path
        self.line = line
        self.parent = parent  # the Source of the include directive, or None
        self.entity = None    # "struct 'X'" once it is known

    def at(self, line):
        return Source(self.path, line, self.parent)

    def within(self, entity):
        place = self.at(self.line)
        place.entity = entity
        return place

    def __str__(self):
        chain = ''
        parent = self.parent
        while parent:
            chain = f'In file included from {parent.path}:{parent.line}:\n' + chain
            parent = parent.parent
        entity = f' in {self.entity}:' if self.entity else ''
        return f'{chain}{self.path}:{self.line}:{entity}'


class QapiError(Exception):
    """A mistake in a schema: its place and one phrase."""

    def __init__(self, source, message):
        super().__init__(message)
        self.source = source
        self.message = message

    def __str__(self):
        return f'{self.source} {printable(self.message)}'


def printable(text):
    """Text that may hold anything, made safe for one line of a terminal."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
