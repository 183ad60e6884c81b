"""Pragmas: exceptions that a schema asks for, once for all its files."""

from .source import QapiError

LISTS = {
    'command-name-exceptions': 'commands with an underscore in their name',
    'command-returns-exceptions': 'commands that return neither object nor list',
    'documentation-exceptions': 'definitions whose members need no documentation',
    'member-name-exceptions': 'types with members spelt otherwise',
    'session-commands': 'commands that the QMP session answers itself',
}


class Pragma:
    def __init__(self):
        self.doc_required = False
        self.lists = {name: {} for name in LISTS}   # name -> {entry: info}

    def has(self, name, entry):
        return entry in self.lists[name]

    def add(self, info, value):
        if not isinstance(value, dict):
            raise QapiError(info, "value of 'pragma' is an object")
        for name, setting in value.items():
            if name == 'doc-required':
                if not isinstance(setting, bool):
                    raise QapiError(info, "pragma 'doc-required' is true or false")
                self.doc_required = setting
            elif name in LISTS:
                self._add_list(info, name, setting)
            else:
                raise QapiError(info, f"unknown pragma '{name}'")

    def _add_list(self, info, name, setting):
        if (not isinstance(setting, list)
                or not all(isinstance(entry, str) for entry in setting)):
            raise QapiError(info, f"pragma '{name}' is a list of names")
        for entry in setting:
            self.lists[name].setdefault(entry, info)
