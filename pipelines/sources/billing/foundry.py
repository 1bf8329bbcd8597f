"""What the name of a meter of Azure's Foundry models (formerly Azure OpenAI) means: the model, the meter and the tier.

The names follow no grammar: `gpt-4o-0806-Inp-glbl Tokens`, `5.6 sol ShortCo Cd Wr Std Gl 1M Tokens`. A name is cut into
words, and a word that nobody knows stays in the model's name.
"""

from __future__ import annotations

import re

from pipelines.sources.billing.meanings import Meaning

# Words of meter names. What is in none of these sets belongs to the model's name.
CACHED, WRITTEN = {"cached", "cache", "cchd", "cd"}, {"wr", "write", "writes"}
READ = {"rd", "read", "reads", "hit"}
INPUT, OUTPUT = {"inp", "inpt", "input", "in"}, {"outp", "outpt", "opt", "out", "output"}
AUDIO = {"aud", "audio"}
MEDIA = {"img", "vid", "video"}  # no meter of ours
TIERS = {"batch": "batch", "priority": "priority", "prio": "priority", "pp": "priority", "flex": "flex"}
PLAIN = {
    "token", "tokens", "1k", "1m", "glbl", "gl", "global", "dz", "dzn", "dzone", "data", "zone", "regnl", "regional",
    "rgnl", "rg", "std", "standard", "txt", "text", "shortco", "longco",
}  # fmt: skip
SNAPSHOTS = {  # meters name the month and day of a snapshot
    "gpt-4o-0513": "gpt-4o-2024-05-13",
    "gpt-4o-0806": "gpt-4o-2024-08-06",
    "gpt-4o-1120": "gpt-4o-2024-11-20",
    "gpt-4o-mini-0718": "gpt-4o-mini-2024-07-18",
}


def meaning(name: str) -> Meaning | None:
    """Of a meter's name, `gpt 4o 0806 cached Inp glbl Tokens`; None where it is not a meter of tokens we know."""
    words = re.split(r"[\s_-]+", name.strip().lower())
    said = set(words)
    if not said & {"token", "tokens"} or said & MEDIA:
        return None
    audio = bool(said & AUDIO)
    if said & CACHED and not audio:
        meter = "cache_write_5m" if said & WRITTEN else "cache_read"
    elif said & INPUT and not said & (OUTPUT | CACHED):
        meter = "audio_input" if audio else "input_uncached"
    elif said & OUTPUT and not said & (INPUT | CACHED):
        meter = "audio_output" if audio else "output"
    else:
        return None
    model = "-".join(w for w in words if w not in CACHED | WRITTEN | READ | INPUT | OUTPUT | AUDIO | PLAIN | TIERS.keys())
    if not model:
        return None
    model = f"gpt-{model}" if model[0].isdigit() else model
    return Meaning(SNAPSHOTS.get(model, model), meter, next((TIERS[word] for word in words if word in TIERS), None))
