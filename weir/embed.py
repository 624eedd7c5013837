#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a C file that holds other files: embed.py OUT FILE…; index.html is served as "/", openapi.json as "/openapi.json".
embed.py --descriptors OUT FILE holds one, for weir/grpc_api.h."""
import os
import sys


def rows_of(data):
    return ',\n'.join(', '.join(str(b) for b in data[at:at + 24]) for at in range(0, len(data), 24))


if sys.argv[1] == '--descriptors':
    with open(sys.argv[2], 'w') as c:
        c.write('/* Written by weir/embed.py. */\n#include "grpc_api.h"\n\nconst unsigned char descriptors[] = {\n' +
                rows_of(open(sys.argv[3], 'rb').read()) + ' };\nconst size_t descriptors_len = sizeof descriptors;\n')
    sys.exit()

out, files = sys.argv[1], sorted(sys.argv[2:], key=os.path.basename)
with open(out, 'w') as c:
    c.write('/* Written by weir/embed.py. */\n#include "assets.h"\n\n')
    for i, name in enumerate(files):
        data = open(name, 'rb').read()
        c.write(f'static const unsigned char f{i}[] = {{\n' + rows_of(data) + ' };\n\n')
    c.write('const struct asset assets[] = {\n')
    for i, name in enumerate(files):
        base = os.path.basename(name)
        path = '/' if base == 'index.html' else '/' + base
        c.write(f'\t{{ "{path}", f{i}, sizeof f{i} }},\n')
    c.write(f'}};\nconst size_t assets_n = {len(files)};\n')
