"""Writes pages.jsonl: the manual of a program that does not exist, 40 pages, so that no model knows it and every model can learn
from it. Text that nobody else has a right to, the same on every machine.

    python3 tests/goldens/learn/make_pages.py
"""

import json
import pathlib
import random

VERBS = {
    "collect": "gathers readings from every station and keeps them in the ledger",
    "sort": "puts the entries of the ledger in the order of their dates",
    "merge": "joins two ledgers and leaves out what both of them have",
    "split": "makes a ledger for each month of a larger one",
    "watch": "waits for new readings and prints each as it comes",
    "check": "looks for readings that cannot be right and lists them",
    "repair": "replaces readings that cannot be right by the mean of their neighbours",
    "export": "writes a ledger as a table that other programs can read",
    "import": "reads a table that another program has written",
    "list": "names the stations that are known, with the day of their last reading",
    "add": "makes a station known by its name and its place",
    "drop": "forgets a station, but keeps its readings",
    "rename": "gives a station another name, also in older readings",
    "plot": "draws the readings of a season as a curve",
    "compare": "sets the same weeks of two years beside each other",
    "archive": "packs the readings of past years and moves them away",
    "restore": "brings packed readings back into the ledger",
    "lock": "keeps others from changing the ledger for a while",
    "unlock": "lets others change the ledger again",
    "send": "hands the newest readings to a neighbour over the wire",
}
OBJECTS = ["tide", "rain"]
OPTIONS = {
    "--since DAY": "Only readings from this day on are taken; the default is the first day of the year.",
    "--until DAY": "Readings after this day are left alone; the default is today.",
    "--station NAME": "Take the readings of this station only; may be given several times.",
    "--ledger FILE": "Use this ledger in place of the one in the home folder.",
    "--quiet": "Print nothing but errors; the exit code still tells what happened.",
    "--dry-run": "Say what would be done, and do nothing; use it before a change that cannot be undone.",
    "--unit UNIT": "Show heights in metres, feet or fathoms; the ledger itself always keeps millimetres.",
    "--retries COUNT": "Ask a station that does not answer again, up to this many times; the default is three.",
    "--format NAME": "The form of the output: plain, table or lines; programs should ask for lines.",
    "--keep COUNT": "Leave so many of the newest readings where they are.",
}
NOTES = [
    "A station that was silent for more than nine days is marked as lost, and is asked again only after kestrel add has named it once more.",
    "The ledger is written to a second file first, and takes the place of the old one when it is complete; a power cut leaves one of the two.",
    "Times are those of the station, without summer time, because the moon does not know of it.",
    "Where two readings have the same minute, the one of the older station counts, and the other is kept in the margin.",
    "Kestrel never changes a reading that carries the mark of a warden; ask the warden to lift the mark first.",
    "A reading is wrong where it differs from both of its neighbours by more than a hand; see kestrel check for the whole rule.",
    "On a slow wire it is better to collect at night, when the stations have nothing else to say.",
    "If the ledger is locked by somebody else, the command waits for one minute and then gives up with exit code four.",
]
EXIT = ["The exit code is zero where all went well, three where a station did not answer, and four where the ledger was locked."]


def page(verb, does, thing, random):
    name = f"kestrel {verb} {thing}"
    options = random.sample(sorted(OPTIONS), 3)
    lines = [f"# {name}", "", "## Synopsis", "", f"    {name} [{options[0]}] [{options[1]}] [{options[2]}]", "", "## Description", ""]
    what = "heights of the tide" if thing == "tide" else "amounts of rain"
    lines += [f"The command {does}. It works on {what} alone; readings of other kinds stay as they are.", ""]
    lines += [random.choice(NOTES), "", "## Options", ""]
    for option in options:
        lines += [f"* `{option}`: {OPTIONS[option]}"]
    lines += ["", "## Notes", ""]
    lines += [random.choice([n for n in NOTES if n not in lines]), "", *EXIT]
    others = random.sample([v for v in VERBS if v != verb], 2)
    lines += ["", "## See also", "", *[f"* kestrel {other} {thing}" for other in others], ""]
    return {"source": f"kestrel-{verb}-{thing}.md", "text": "\n".join(lines)}


def main():
    chance = random.Random(7)
    pages = [page(verb, does, thing, chance) for verb, does in VERBS.items() for thing in OBJECTS]
    file = pathlib.Path(__file__).with_name("pages.jsonl")
    file.write_text("".join(json.dumps(p) + "\n" for p in pages), encoding="utf-8")


if __name__ == "__main__":
    main()
