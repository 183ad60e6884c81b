"""Prints the last line of a QMP conversation for a reader: what is short stays on one line."""

import json
import sys


WIDTH = 90


def layout(value, indent):
    line = json.dumps(value)
    if not value or not isinstance(value, (dict, list)) or len(line) + 2 * indent <= WIDTH:
        return line
    pad = "  " * indent
    if isinstance(value, dict):
        parts = [f'{pad}  "{name}": {layout(part, indent + 1)}' for name, part in value.items()]
    else:
        parts = [f"{pad}  {layout(part, indent + 1)}" for part in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return opening + "\n" + ",\n".join(parts) + f"\n{pad}{closing}"


replies = [json.loads(line) for line in sys.stdin if line.strip()]
if len(replies) != 3:
    sys.exit(f"expected a greeting and two replies, found {len(replies)}")
greeting, negotiated, reply = replies
if "QMP" not in greeting or "return" not in negotiated:
    sys.exit(f"not a QMP server: {greeting} {negotiated}")
if "return" not in reply:
    sys.exit(f"refused: {reply['error']['desc']}")
print("<-- " + layout(reply["return"], 0))
