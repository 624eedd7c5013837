#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a C file that holds other files: embed.py OUT FILE…; index.html is served as "/", openapi.json as "/openapi.json"."""
import os
import sys

out, files = sys.argv[1], sorted(sys.argv[2:], key=os.path.basename)
with open(out, 'w') as c:
    c.write('/* Written by weir/embed.py. */\n#include "assets.h"\n\n')
    for i, name in enumerate(files):
        data = open(name, 'rb').read()
        rows = (', '.join(str(b) for b in data[at:at + 24]) for at in range(0, len(data), 24))
        c.write(f'static const unsigned char f{i}[] = {{\n' + ',\n'.join(rows) + ' };\n\n')
    c.write('const struct asset assets[] = {\n')
    for i, name in enumerate(files):
        base = os.path.basename(name)
        path = '/' if base == 'index.html' else '/' + base
        c.write(f'\t{{ "{path}", f{i}, sizeof f{i} }},\n')
    c.write(f'}};\nconst size_t assets_n = {len(files)};\n')
