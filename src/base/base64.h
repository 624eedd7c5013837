/* SPDX-License-Identifier: MIT */
/* Base64 with padding (RFC 4648 §4): how bytes that are no text travel in JSON. */
#ifndef WEIR_BASE_BASE64_H
#define WEIR_BASE_BASE64_H

#include "base/buf.h"

/* Appends; a failed growth shows in the buffer. */
void weir__base64_encode(struct weir__buf *out, const void *data, size_t n);

/* Appends the bytes. 0, or -EINVAL for what no encoder writes (other letters, missing or inner
 * padding, stray bits). */
int weir__base64_decode(struct weir__buf *out, const char *text, size_t n);

#endif
