/* SPDX-License-Identifier: MIT */
/* The dashboard's files and openapi.json, put into the program by embed.py. */
#ifndef WEIR_PROGRAM_ASSETS_H
#define WEIR_PROGRAM_ASSETS_H

#include <stddef.h>

struct asset {
	const char *path; /* "/", "/app.js" */
	const unsigned char *data;
	size_t len;
};

extern const struct asset assets[];
extern const size_t assets_n;

#endif
