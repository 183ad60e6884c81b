"""qapigen: from the QAPI schema to C tables, typed shims and the reference.

source -> parser -> expr -> schema (the IR) -> back-ends.  Each step knows the one before
it only; a mistake in a schema is a QapiError with a place, whatever the file holds.
"""
