#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A manual page from a public header: mkman.py include/weir/chan.h VERSION > weir_chan.3

The header is the manual; this only sets it for man(1). The opening comment becomes NAME, DESCRIPTION and EXAMPLE, each
comment with the declarations below it becomes an entry.
"""
import pathlib
import re
import sys


def roff(text):
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.M)


def words(comment):
    """The lines of a comment without its stars."""
    body = re.sub(r"^/\*|\*/$", "", comment.strip())
    return [re.sub(r"^\s*\* ?", "", line).rstrip() for line in body.split("\n")]


def set_text(lines, out):
    """Paragraphs filled, tab-indented lines as they are."""
    block = False
    for line in lines:
        if line.startswith("\t") or line.startswith("   "):
            if not block:
                out += [".PP", ".nf", ".RS 4"]
                block = True
            out.append(roff(line.replace("\t", "    ")))
            continue
        if block:
            if not line.strip():
                out.append("")
                continue
            out += [".RE", ".fi"]
            block = False
        out.append(roff(re.sub(r"^ ?- ", "\u2022 ", line.strip())) if line.strip() else ".PP")
        if line.lstrip().startswith("- "):
            out.insert(len(out) - 1, ".br")
    if block:
        out += [".RE", ".fi"]


def page(path, version):
    name = "weir_" + path.stem if path.stem != "weir" else "weir_library"
    text = path.read_text()
    opening = next(c for c in re.findall(r"/\*.*?\*/", text, re.S) if "SPDX" not in c)
    lines = [x for x in words(opening)]
    while lines and not lines[0].strip():
        lines.pop(0)
    first = " ".join(lines)
    summary = re.split(r"(?<=[.:]) ", first, 1)[0].rstrip(".:")
    out = [f'.TH {name.upper()} 3 "" "weir {version}" "Weir"', ".SH NAME", f"{name} \\- {roff(summary)}", ".SH SYNOPSIS",
           ".nf", f"#include <weir/{path.name}>", ".fi", ".SH DESCRIPTION"]
    set_text(lines, out)
    out.append(".SH REFERENCE")
    body = text[text.index(opening) + len(opening):]
    body = re.sub(r"^WEIR_(BEGIN|END)$|^#(ifndef|endif|include|define WEIR_\w+_H).*$", "", body, flags=re.M)
    for entry in re.split(r"\n\s*\n", body):
        comment = re.match(r"\s*(/\*.*?\*/)\s*\n", entry, re.S)
        code = entry[comment.end():] if comment else entry
        code = re.sub(r"\bWEIR_API ", "", code).strip("\n")
        if not code.strip() and not comment:
            continue
        out.append(".PP")
        if code.strip():
            out += [".nf"] + [roff(line.replace("\t", "    ")) for line in code.split("\n")] + [".fi"]
        if comment:
            out.append(".RS 4")
            set_text(words(comment.group(1)), out)
            out.append(".RE")
    out += [".SH SEE ALSO", ".BR weir (1)"]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(pathlib.Path(sys.argv[1]), sys.argv[2]))
